"""Words spoken by three free synthesizers in many voices: espeak-ng, flite and festival.

    apt install espeak-ng flite festival festvox-kdlpc16k festvox-us-slt-hts

Every utterance is float32 at 8 kHz, in [-1, 1), without the silence around it.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 8000
KEYWORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: What is no keyword: words of every sound, some close to a keyword, none that sounds like one.
OTHERS = (
    "hello yes no go stop left right up down on off open close please press again thank you good morning "
    "ten eleven twelve thirteen fifteen eighteen twenty thirty forty sixty seventy eighty hundred thousand "
    "monday tuesday wednesday friday sunday january april august october november december today tomorrow "
    "yesterday alpha bravo charlie delta echo hotel india kilo lima mike oscar papa sierra tango victor "
    "money water paper table window number system never ever hero fire wine tree free sick seventh night "
    "fine line van fun fought thought want once wonder tooth throw heaven eaten ninth clock sixes mango "
    "red blue green yellow orange black white minute second hour year week busy calling invalid password "
    "conference mailbox message transfer extension available forward goodbye enter letter pound star dash "
    "a b c d e f g h i j k l m n p q r s u v w x y z"
).split()


@dataclass(frozen=True)
class Voice:
    """One way of speaking: a synthesizer, one of its voices, and how it speaks.

    `speed` is in words per minute for espeak-ng, else a factor of duration; `pitch` from 0 to 99 for
    espeak-ng, a mean in Hz for flite, 0 where the voice decides.
    """

    engine: str
    name: str
    speed: float
    pitch: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """A word, who spoke it, and its samples (N,) float32."""

    word: str
    voice: Voice
    samples: np.ndarray


ACCENTS = (
    *("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    "en-us-nyc",
)
VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 adam Alex Alicia Andrea Andy "
    "Annie anika aunty belinda benjamin caleb david Denis ed edward Gene Hugo iven Jacky john Lee linda "
    "Marco Mario max Michael michel Mike Mr Nguyen pablo paul quincy rob robert steph steph2 steph3 "
    "travis victor zac shelby sandro miguel norbert grandma grandpa"
).split()
FLITE = {"kal": 105, "kal16": 105, "awb": 130, "rms": 100, "slt": 180}
FESTIVAL = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")


def speak(
    words: Iterable[str],
    random: np.random.Generator,
    voices: int,
    wanted: Callable[[Voice], bool] = lambda voice: True,
) -> Iterator[Utterance]:
    """Every word in so many random voices of espeak-ng, a third of that of flite, and some of festival.

    Voices that are not wanted are drawn and stay silent, so that the others are the same.
    """
    words = list(words)
    for word in words:
        drawn = [_random_espeak(random) for _ in range(voices)]
        yield from (_espeak(word, voice) for voice in drawn if wanted(voice))
        drawn = [_random_flite(random) for _ in range(max(voices // 3, 2))]
        yield from (_flite(word, voice) for voice in drawn if wanted(voice))
    for name in FESTIVAL:
        stretches = (1.0,) if name.endswith("hts") else (0.8, 1.0, 1.3)
        for voice in (Voice("festival", name, stretch) for stretch in stretches):
            if wanted(voice):
                yield from _festival(words, voice)


def _random_espeak(random: np.random.Generator) -> Voice:
    name = f"{random.choice(ACCENTS)}+{random.choice(VARIANTS)}"
    return Voice("espeak-ng", name, int(random.integers(100, 200)), int(random.integers(15, 90)))


def _random_flite(random: np.random.Generator) -> Voice:
    name = str(random.choice(list(FLITE)))
    pitch = FLITE[name] * float(random.uniform(0.8, 1.35))
    return Voice("flite", name, round(float(random.uniform(0.8, 1.5)), 2), round(pitch))


def _espeak(word: str, voice: Voice) -> Utterance:
    options = ["-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout"]
    done = subprocess.run(["espeak-ng", *options, word], stdout=subprocess.PIPE, check=True)
    return Utterance(word, voice, _cleaned(done.stdout))


def _flite(word: str, voice: Voice) -> Utterance:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "word.wav")
        features = [f"duration_stretch={voice.speed}", f"int_f0_target_mean={voice.pitch}"]
        settings = [part for feature in features for part in ("--setf", feature)]
        command = ["flite", "-voice", voice.name, *settings, "-t", word, "-o", str(path)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return Utterance(word, voice, _cleaned(path.read_bytes()))


def _festival(words: list[str], voice: Voice) -> Iterator[Utterance]:
    """All words in one run: the program takes longer to start than to speak."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.wav") for i in range(len(words))]
        lines = [f"(voice_{voice.name})", f"(Parameter.set 'Duration_Stretch {voice.speed})"]
        lines += [
            f'(utt.save.wave (utt.synth (Utterance Text "{word}")) "{path}" \'riff)'
            for word, path in zip(words, paths, strict=True)
        ]
        script = Path(folder, "words.scm")
        script.write_text("\n".join(lines))
        subprocess.run(["festival", "-b", str(script)], stdout=subprocess.DEVNULL, check=True)
        for word, path in zip(words, paths, strict=True):
            yield Utterance(word, voice, _cleaned(path.read_bytes()))


def _cleaned(data: bytes) -> np.ndarray:
    """The samples of a WAV file at 8 kHz, cut where it gets louder than a hundredth of its peak."""
    with wave.open(io.BytesIO(data)) as file:
        # On a pipe espeak-ng cannot know the length: what is there counts.
        raw, rate = file.readframes(file.getnframes()), file.getframerate()
    samples = resampled(np.frombuffer(raw[: len(raw) // 2 * 2], "<i2") / 32768, RATE / rate)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1].astype(np.float32) if len(loud) else samples[:0]


def resampled(samples: np.ndarray, factor: float) -> np.ndarray:
    """The same sound in `factor` times as many samples, by its spectrum; what no longer fits is left out."""
    wanted = max(round(len(samples) * factor), 1)
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(spectrum[: wanted // 2 + 1], wanted) * (wanted / len(samples))
