"""Another voice for recorded speech, by the factorized codec alone.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 4.4 and appendix: prosody, content and detail of
the source are decoded with the timbre of the prompt.
"""

from collections.abc import Sequence

from torch import Tensor

from parlando.codecs.facodec.model import ATTRIBUTES, FACodec
from parlando.contracts import ConfigError


class FACodecConverter:
    """A factorized codec as a ``Converter``; a voice is its timbre vector.

    Prosody is relative to the speaker's own pitch; its height belongs to timbre.

    Args:
        codec: the codec.
        name: for messages and metadata.
        without: attributes of the source to leave out, such as ``detail``, which may still hold
            some of the source's voice.
        strength: how far from the timbre of what it hears to go: 0 stays there, 1 is the prompt's,
            more exaggerates what tells the two apart (not in the paper).

    Raises:
        ConfigError: there is no such attribute, content would be left out, or the strength is not 0
            to 4.
    """

    context_frames = 64

    def __init__(
        self, codec: FACodec, name: str, without: Sequence[str] = (), strength: float = 1.0
    ):
        if set(without) - (set(ATTRIBUTES) - {"content"}):
            raise ConfigError(f"without is {tuple(without)}; name prosody, detail, both or none")
        if not 0.0 <= strength <= 4.0:
            raise ConfigError(f"strength is {strength}; give 0 to 4, 1 takes the voice as it is")
        self.codec = codec
        self.name = name
        self.strength = strength
        self.rate_hz = codec.rate_hz
        self.hop_samples = codec.hop_samples
        self.without = tuple(without)

    def encode_voice(self, waveform: Tensor) -> Tensor:
        """Extract the timbre ``(1, W)`` of a prompt ``(S,)``, cut to whole frames."""
        whole = len(waveform) - len(waveform) % self.hop_samples
        return self.codec.timbre(self._placed(waveform[:whole]))

    def contrast(self, voice: Tensor, own: Tensor) -> Tensor:
        """Go from the source's timbre ``(1, W)`` towards the prompt's, or beyond it: ``(1, W)``."""
        return own + self.strength * (voice - own)

    def convert(self, waveform: Tensor, voice: Tensor) -> Tensor:
        """Decode the codes of ``(S,)``, S a multiple of the hop, with another timbre: ``(S,)``."""
        codes = self.codec.encode(self._placed(waveform))
        return self.codec.decode(self.codec.embed(codes, without=self.without), voice)[0].cpu()

    def _placed(self, waveform: Tensor) -> Tensor:
        return waveform[None].to(next(self.codec.parameters()).device)
