"""Give speech the spectrum of other speech, each kind of sound by itself.

How loud the bands of a voice are, in its vowels and in its hisses, tells much of who speaks, and in
which room; a filter that changes with what is said changes it and nothing else.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from parlando.audio.spectrogram import hertz_to_mel, mel_filterbank

BANDS = 48
"""Mel bands in which spectra are compared."""
KINDS = 8
"""Kinds of sound that are told apart."""
PASSES = 2
"""What has been filtered is sorted once more, now that it is nearer, and filtered by what it still
lacks."""
PASS_LIMIT_DB = 8.0
"""No band is raised or lowered by more in a pass."""

_WINDOW_SECONDS = 0.032
_MOST_FRAMES = 6000  # Of a longer recording so many are looked at, evenly spread.
_ACTIVE = 1e-4  # Frames that are 40 dB below the loudest hold no speech.
_EMPTY_DB = 70.0  # A band so far below the loudest holds nothing, as above a telephone's reach.
_FLOOR = 1e-12
_SILENCE = 1e-30
_BLOCK_FRAMES = 1 << 12

_ROUNDS = 8  # Of finding the kinds.
_SHARPNESS_DB2 = 10.0  # Mean squared difference of bands that makes a kind e times less likely.
_DOUBT_FRAMES = 16.0  # A kind heard in so many goes half the way from the average in a pass.
_DOUBT_ALL_FRAMES = 150.0  # The same of all sounds: a short word holds other sounds than a prompt.
_FADE = np.hanning(13)[1:-1] / np.hanning(13).sum()  # Over so many frames a filter becomes another.


def match_timbre(
    samples: np.ndarray, like: np.ndarray, rate_hz: int, *, passes: int = PASSES
) -> np.ndarray:
    """Filter speech so that each kind of sound has the spectrum that it has in other speech.

    The frames of both are sorted into :data:`KINDS` kinds by the shapes of their spectra, each
    relative to the average of its own side, so that the vowels of one stand beside the vowels of
    the other whatever is said. Each kind gets a filter that makes its bands as loud, on average, as
    they are in the other, beside its other bands: how loud a kind is as a whole belongs to what is
    said. The less of a kind is heard, the nearer is its filter to the one that does so for all
    sounds, whose gain is 0 dB at the median band. From frame to frame they fade into each other.
    Where little is heard of either side at all, such as one word, all filters do less. Bands in
    which either side holds nothing get the gain of the nearest that do.

    Source: a filter in place of a vocoder after Kobayashi et al. 2014 (statistical voice conversion
    with direct waveform modification), whose mixture is trained on the same sentences of both
    speakers; here the kinds are found without.

    Args:
        samples: ``(S,)`` to be filtered.
        like: ``(S',)`` speech to be like, some seconds of it.
        rate_hz: sampling rate of both.
        passes: how many times all this is done, each moving a band by
            :data:`PASS_LIMIT_DB` at most.

    Returns:
        ``(S,)`` float32, not delayed. Where either is silent or not finite, or they have no band in
        common, the samples stay as they are.
    """
    samples = np.asarray(samples, dtype=np.float32)
    finite = np.isfinite(samples).all() and np.isfinite(like).all()
    if not (finite and np.any(samples) and np.any(like)):
        return samples
    window = 4 * round(_WINDOW_SECONDS * rate_hz / 4)
    other = _Heard.of(like, rate_hz, window)
    for _ in range(passes):
        samples = _filtered(samples, other, rate_hz, window)
    return samples


def _filtered(samples: np.ndarray, other: "_Heard", rate_hz: int, window: int) -> np.ndarray:
    """Filter ``(S,)`` once."""
    own = _Heard.of(samples, rate_hz, window)
    held = _held(own.average_db, other.average_db)
    if not held.any():
        return samples
    kinds = _Kinds.of(own.powers[:, held], other.powers[:, held])
    filters, centres, bins = _grid(rate_hz, window)
    to_bands = filters.T[:, held]
    to_bins = np.stack([np.interp(bins, centres[held], one) for one in np.eye(int(held.sum()))])
    frames, reach = _frames(samples, window), len(_FADE) // 2
    made = np.zeros((len(frames) + 3, window // 4), dtype=np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        first, stop = max(0, start - reach), min(start + _BLOCK_FRAMES, len(frames))
        spectra = np.fft.rfft(frames[first : stop + reach] * _hann(window))
        power = np.abs(spectra) ** 2
        further_db = kinds.further_db(_product(power, to_bands))
        further_db[_energy(power) < own.quietest] = 0.0
        for band in further_db.T:
            band[:] = np.convolve(band, _FADE)[reach:-reach]
        gains_db = kinds.overall_db + further_db
        gains_db = _product(np.clip(gains_db, -PASS_LIMIT_DB, PASS_LIMIT_DB), to_bins)
        gains = (10.0 ** (gains_db / 20.0)).astype(np.float32)
        filtered = (spectra * gains)[start - first : stop - first]
        # Four windows, each weighed twice, overlap everywhere: together they weigh 1.5.
        parts = np.fft.irfft(filtered) * _hann(window) / 1.5
        for place, part in enumerate(np.split(parts, 4, axis=1)):
            made[start + place : stop + place] += part
    return made.reshape(-1)[window : window + len(samples)]


def _frames(samples: np.ndarray, window: int) -> np.ndarray:
    """View samples ``(S,)`` as frames ``(T, window)`` a quarter of a window apart.

    The first ends where the samples begin, and the last begins where they have ended.
    """
    padded = np.pad(np.asarray(samples, dtype=np.float32), (window, 2 * window))
    return np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 4]


@dataclass(frozen=True)
class _Heard:
    """What is to be known of speech to compare it with other speech."""

    powers: np.ndarray
    """``(A, BANDS)`` of frames that hold speech, of long recordings some everywhere."""
    average_db: np.ndarray
    """``(BANDS,)``: their mean power."""
    quietest: float
    """Energy from which on a frame holds speech."""

    @classmethod
    def of(cls, samples: np.ndarray, rate_hz: int, window: int) -> "_Heard":
        frames = _frames(samples, window)
        # Where a recording is cut off in a sound, that spreads over all bands.
        ends = np.arange(len(frames)) * (window // 4)
        whole = np.flatnonzero((ends >= window) & (ends <= len(samples)))
        if not len(whole):
            whole = np.arange(len(frames))
        if len(whole) > _MOST_FRAMES:
            whole = whole[np.linspace(0, len(whole) - 1, _MOST_FRAMES).round().astype(int)]
        power = np.abs(np.fft.rfft(frames[whole] * _hann(window))) ** 2
        energy = _energy(power)
        quietest = _ACTIVE * float(energy.max())
        active = power[energy >= quietest]
        powers = _product(active, _grid(rate_hz, window)[0].T)
        return cls(powers, _decibel(powers.mean(0)), quietest)


@dataclass(frozen=True)
class _Kinds:
    """Kinds of sound that are in both, and how each is to be filtered."""

    average_db: np.ndarray
    """``(H,)``: mean levels of the speech that is filtered."""
    centres: np.ndarray
    """``(K, H)``: the shapes of the kinds, relative to that."""
    overall_db: np.ndarray
    """``(H,)``: by how much all sounds are to be raised on average, 0 at the median band."""
    gains_db: np.ndarray
    """``(K, H)``: by how much more each kind is to be raised; 0 on average over its bands."""

    @classmethod
    def of(cls, own: np.ndarray, other: np.ndarray) -> "_Kinds":
        overall_db = _decibel(other.mean(0)) - _decibel(own.mean(0))
        levels_db = [_decibel(powers) for powers in (own, other)]
        shapes = [levels - levels.mean(0) for levels in levels_db]
        centres = _centres(np.concatenate(shapes))
        of_own, of_other = (_shares(each, centres) for each in shapes)
        gains_db = np.zeros((len(centres), len(overall_db)))
        for kind in range(len(centres)):
            mine, theirs = of_own[:, kind], of_other[:, kind]
            heard = min(mine.sum(), theirs.sum())
            if heard > 0.0:
                # Means of levels: a frame between two kinds would rule a mean of powers.
                mean_db = _product(theirs, levels_db[1]) / theirs.sum()
                mean_db = mean_db - _product(mine, levels_db[0]) / mine.sum()
                gains_db[kind] = heard / (heard + _DOUBT_FRAMES) * (mean_db - overall_db)
        # The shape only: a prompt's hisses may be louder for what it says. Nor does speech become
        # much louder than its pauses, which no kind is in.
        gains_db -= gains_db.mean(1, keepdims=True)
        heard = min(len(own), len(other))
        share = heard / (heard + _DOUBT_ALL_FRAMES)
        overall_db = share * (overall_db - np.median(overall_db))
        return cls(levels_db[0].mean(0), centres, overall_db, gains_db)

    def further_db(self, powers: np.ndarray) -> np.ndarray:
        """Tell by how much more than on average frames ``(T, H)`` are to be raised."""
        shares = _shares(_decibel(powers) - self.average_db, self.centres)
        return _product(shares, self.gains_db)


def _centres(shapes: np.ndarray) -> np.ndarray:
    """Find ``(KINDS, H)`` typical shapes among ``(A, H)``, fewer where there are fewer."""
    kinds = min(KINDS, len(shapes))
    # Begin with equal parts along the direction in which they differ most.
    centred = shapes - shapes.mean(0)
    directions = torch.linalg.eigh(torch.from_numpy(_product(centred.T, centred)))[1]
    along = _product(shapes, directions[:, -1].numpy())
    part = np.argsort(np.argsort(along)) * kinds // len(along)
    centres = np.stack([shapes[part == kind].mean(0) for kind in range(kinds)])
    for _ in range(_ROUNDS):
        shares = _shares(shapes, centres)
        centres = _product(shares.T, shapes) / np.maximum(shares.sum(0), _FLOOR)[:, None]
    return centres


def _shares(shapes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Tell how likely ``(A, H)`` shapes are of each kind: ``(A, K)``, 1 in all."""
    # Squared distances, less what is the same for all kinds.
    distances = (np.square(centres).sum(1) - 2.0 * _product(shapes, centres.T)) / shapes.shape[1]
    likely = np.exp((distances.min(1, keepdims=True) - distances) / _SHARPNESS_DB2)
    return likely / likely.sum(1, keepdims=True)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply matrices by the threads of torch.

    Those of numpy go on looking for work for a while, on the cores that a network needs next:
    the first sound of a text came a third later.
    """
    kind = np.result_type(left, right)
    both = (torch.from_numpy(np.ascontiguousarray(each, dtype=kind)) for each in (left, right))
    return np.asarray(torch.matmul(*both))


def _energy(power: np.ndarray) -> np.ndarray:
    """Sum ``(T, F)`` over all bins but the lowest, in which a constant offset lies."""
    return np.asarray(power[:, 2:].sum(1))


def _hann(window: int) -> np.ndarray:
    return np.hanning(window + 1)[:-1].astype(np.float32)


def _held(own_db: np.ndarray, other_db: np.ndarray) -> np.ndarray:
    """Tell in which bands ``(BANDS,)`` both hold something."""
    empty = np.minimum(own_db - own_db.max(), other_db - other_db.max()) < -_EMPTY_DB
    # Their neighbours hold less than they would, too.
    return ~np.convolve(empty, [True] * 3, "same").astype(bool)


@lru_cache(maxsize=4)
def _grid(rate_hz: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the filters of the bands ``(BANDS, F)``, their centres and the bins, in mel."""
    highest = float(hertz_to_mel(torch.tensor(rate_hz / 2)))
    centres = np.linspace(0.0, highest, BANDS + 2)[1:-1]
    bins = hertz_to_mel(torch.linspace(0.0, rate_hz / 2, window // 2 + 1)).numpy()
    return mel_filterbank(rate_hz, window, BANDS).numpy(), centres, bins


def _decibel(powers: np.ndarray) -> np.ndarray:
    """Levels of powers ``(…, H)``, with a floor so far below the loudest."""
    return 10.0 * np.log10(np.maximum(powers, max(_FLOOR * powers.max(), _SILENCE)))
