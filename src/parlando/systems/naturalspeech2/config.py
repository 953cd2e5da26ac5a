"""Configuration of NaturalSpeech 2."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class NaturalSpeech2Config:
    """Shape of NaturalSpeech 2; the defaults are the paper's Table 11 (``paper()``)."""

    latent_width: int = 256
    """Dimensions D of the codec latent that is diffused."""
    width: int = 512
    """Channels of the encoders and of the diffusion network."""
    heads: int = 8
    """Attention heads everywhere."""
    phoneme_layers: int = 6
    """Transformer layers of the phoneme encoder."""
    prompt_layers: int = 6
    """Transformer layers of the speech prompt encoder."""
    filter_width: int = 2048
    """Inner channels of their convolutional feed-forward networks."""
    filter_kernel: int = 9
    """Kernel of those."""
    encoder_dropout: float = 0.2
    """Dropout of both encoders."""
    predictor_width: int = 512
    """Channels of the duration and pitch predictors."""
    predictor_layers: int = 30
    """Convolutions in each predictor; every third is followed by attention to the prompt."""
    duration_kernel: int = 3
    """Kernel of the duration predictor."""
    pitch_kernel: int = 5
    """Kernel of the pitch predictor."""
    predictor_dropout: float = 0.5
    """Dropout of both predictors."""
    diffusion_layers: int = 40
    """WaveNet blocks."""
    diffusion_kernel: int = 3
    """Kernel of their convolutions."""
    diffusion_dilations: tuple[int, ...] = (2,)
    """Dilations, cycled through."""
    attend_every: int = 3
    """Every which WaveNet block attends to the prompt summary."""
    diffusion_dropout: float = 0.2
    """Dropout of the diffusion network."""
    query_tokens: int = 32
    """Learned queries m that summarise the prompt."""
    precondition: bool = False
    """Add the best linear estimate to the network's output (``small``; not in the paper)."""
    relative_pitch: bool = False
    """Predict pitch relative to the prompt's mean log-F0 (``small``; not in the paper)."""
    global_prompt: bool = False
    """Add statistics of the prompt over time to the time embedding (``small``; not in the paper).

    The way through query tokens and FiLM learns slowly: FiLM starts as the identity. A mean and a
    deviation tell most of a voice at once.
    """
    pitch_harmonics: int = 0
    """Harmonics whose phase advance per frame is given with the pitch (``small``; not in the
    paper)."""
    pitch_phases: int = 0
    """Harmonics whose phase is given with the pitch (``small``; not in the paper): measured in
    training, integrated from F0 in synthesis."""
    mel_bands: int = 0
    """Bands of a log-mel spectrogram that is predicted from text, pitch and prompt before the
    diffusion, which reads it as a condition (``small``; not in the paper); 0: none.

    What can be said of the voice without noise is learnt by plain regression, as the encoder of
    Grad-TTS (Popov et al. 2021) does it; diffusion alone learns it slowly from few hours.
    """
    guidance: float = 0.0
    """Strength of guidance on the prompt in synthesis where none is asked for (not in the
    paper)."""
    guidance_from: float = 0.0
    """Time t down to which guidance is applied (not in the paper). Where little noise is left, it
    changes little of the voice and costs a second evaluation all the same (Kynkäänniemi et al.
    2024, "Applying Guidance in a Limited Interval")."""
    speak_by_mel: bool = False
    """In synthesis the diffusion hears of the prompt through the predicted mel only, which it
    learns by ``only_mel``."""
    match_timbre: bool = False
    """Filter what is spoken so that each kind of sound has the spectrum that it has in the prompt,
    where a call does not say (not in the paper)."""
    frame_rate_hz: float = 80.0
    """Latent frames a second."""
    prompt_in_diffusion: bool = True
    """Ablation switch: the diffusion network attends to the prompt."""
    prompt_in_predictors: bool = True
    """Ablation switch: the duration and pitch predictors attend to the prompt."""
    query_attention: bool = True
    """Ablation switch: summarise the prompt by query tokens instead of attending to its frames."""


@dataclass(frozen=True, kw_only=True)
class NaturalSpeech2ObjectiveConfig:
    """Weights and probabilities of the objective."""

    ce_rvq_weight: float = 0.1
    """Weight of CE-RVQ, the only one the paper states; 0 is the paper's ablation."""
    ce_rvq_levels: int = 4
    """Random quantizer levels scored in each step."""
    ce_rvq_temperature: float = 8.0
    """Squared distance per nat in CE-RVQ."""
    score_weighting: Literal["paper", "noise", "min_snr"] = "min_snr"
    """Weighting of the score term, see ``score_loss``."""
    drop_prompt: float = 0.1
    """Probability of hiding the prompt from the diffusion network, for guidance."""
    only_mel: float = 0.0
    """Probability of leaving the diffusion network nothing of the prompt but the predicted mel.
    Summary and vector name a training voice exactly and an unheard one hardly; the mel serves
    both. Needs ``mel_bands``."""
    speaker_weight: float = 0.0
    """Weight of naming the training speaker by the prompt's vector alone (not in the paper): with
    few hours the diffusion loss says too little of voices. Needs ``global_prompt``."""


def paper() -> NaturalSpeech2Config:
    """Return the paper's shape (Table 11)."""
    return NaturalSpeech2Config()


def small() -> NaturalSpeech2Config:
    """Return the released shape, about ten million parameters."""
    return NaturalSpeech2Config(
        latent_width=64,
        width=192,
        heads=4,
        phoneme_layers=3,
        prompt_layers=2,
        filter_width=288,
        filter_kernel=5,
        encoder_dropout=0.0,
        predictor_width=128,
        predictor_layers=6,
        predictor_dropout=0.1,
        diffusion_layers=10,
        diffusion_dilations=(1, 2, 4),
        diffusion_dropout=0.0,
        precondition=True,
        relative_pitch=True,
        global_prompt=True,
        pitch_harmonics=8,
        pitch_phases=4,
        mel_bands=80,
        guidance=2.0,
        guidance_from=0.5,
        match_timbre=True,
    )


def tiny() -> NaturalSpeech2Config:
    """Return a shape for tests."""
    return NaturalSpeech2Config(
        latent_width=8,
        width=16,
        heads=2,
        phoneme_layers=1,
        prompt_layers=1,
        filter_width=16,
        filter_kernel=3,
        encoder_dropout=0.0,
        predictor_width=16,
        predictor_layers=3,
        predictor_dropout=0.0,
        diffusion_layers=2,
        diffusion_dilations=(1, 2),
        diffusion_dropout=0.0,
        query_tokens=4,
    )
