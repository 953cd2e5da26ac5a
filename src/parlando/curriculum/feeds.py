"""Build the batches of each kind of training."""

from collections.abc import Callable
from pathlib import Path

from parlando.contracts import BatchSource
from parlando.curriculum.settings import CropData, LanguageData, UtteranceData
from parlando.data.dataset import AudioCrops, Utterances
from parlando.data.store import PreparedCorpus
from parlando.training.config import TrainConfig


def feed_crops(
    data: CropData, folder: Path, training: TrainConfig, labelled: bool = False
) -> BatchSource:
    """Give crops of audio, as many as fill the batch."""
    corpus = PreparedCorpus(folder)
    crop_seconds = data.crop_frames * corpus.hop_samples / corpus.rate_hz
    return AudioCrops(
        corpus,
        batch_size=max(1, round(training.batch_seconds / crop_seconds)),
        crop_frames=data.crop_frames,
        seed=training.seed,
        source_weights=data.source_weights,
        voice_weight=data.voice_weight,
        labelled=labelled,
        disguise_share=data.disguise_share,
        validation_batches=2,
    )


def feed_labelled_crops(data: CropData, folder: Path, training: TrainConfig) -> BatchSource:
    """Give crops of audio with their phones, pitch and speakers."""
    return feed_crops(data, folder, training, labelled=True)


def feed_utterances(
    parts: tuple[str, ...], prompted: bool
) -> Callable[[UtteranceData, Path, TrainConfig], BatchSource]:
    """Give whole utterances: the parts that are named, and a prompt for each where asked for."""

    def feed(data: UtteranceData, folder: Path, training: TrainConfig) -> BatchSource:
        return _utterances(PreparedCorpus(folder), parts, data, training, prompted)

    return feed


def feed_language(data: LanguageData, folder: Path, training: TrainConfig) -> BatchSource:
    """Give whole utterances of as many symbols as a model reads, each with a prompt."""
    corpus = PreparedCorpus(folder)
    for row in corpus.rows:
        if row["n_symbols"] > data.longest_symbols:
            # In memory only: as what is aligned badly it is neither a target nor a prompt.
            row["rejected"] = "too many symbols"
    return _utterances(corpus, ("symbols", "durations", "codes", "f0"), data, training, True)


def _utterances(
    corpus: PreparedCorpus,
    parts: tuple[str, ...],
    data: UtteranceData,
    training: TrainConfig,
    prompted: bool,
) -> Utterances:
    return Utterances(
        corpus,
        batch_frames=round(training.batch_seconds * corpus.rate_hz / corpus.hop_samples),
        parts=(*parts, "waveform") if data.waveform and "waveform" not in parts else parts,
        seed=training.seed,
        source_weights=data.source_weights,
        voice_weight=data.voice_weight,
        shortest_frames=data.shortest_frames,
        longest_frames=data.longest_frames,
        prompts=data.prompts if prompted else None,
        validation_batches=4,
        grid=data.grid_frames,
    )
