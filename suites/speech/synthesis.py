"""Spoken digits from espeak-ng: voices, speeds, pitches and noise, all drawn from a seed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.random import Generator
from numpy.typing import NDArray

Samples = NDArray[np.float64]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
ESPEAK_RATE = 22050
HEADER_BYTES = 44  # of a WAV file on a pipe, whose length espeak-ng cannot know

ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-gb-x-gbclan", "en-029")
TRAINING = (
    *(
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "m7",
        "f1",
        "f2",
        "f4",
        "f5",
        "Alex",
        "Alicia",
        "Andrea",
        "Andy",
        "antonio",
        "aunty",
    ),
    *(
        "belinda",
        "benjamin",
        "boris",
        "caleb",
        "david",
        "Denis",
        "Diogo",
        "ed",
        "edward",
        "Gene",
        "gustave",
        "Henrique",
    ),
    *(
        "Hugo",
        "iven",
        "iven3",
        "Jacky",
        "Lee",
        "linda",
        "marcelo",
        "Marco",
        "Mario",
        "max",
        "michel",
        "miguel",
        "norbert",
    ),
    *("pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
    *("grandma", "klatt3"),
)
HELD_OUT = (
    *("m6", "m8", "f3", "adam", "anika", "Annie", "edward2", "Gene2", "grandpa", "iven2", "john", "kaukovalta"),
    *("klatt2", "Michael", "Mike", "steph2"),
)
"""Voices that nothing was trained on; the accents they speak in are those of the training voices."""


@dataclass(frozen=True)
class Clip:
    """What was said, and how it sounds: samples in -1..1 at RATE."""

    text: str
    samples: Samples


def check_voices() -> None:
    """A voice that espeak-ng does not know is the plain one without a word: every voice must sound like no other."""
    heard = {speak("one", f"en-us+{voice}", speed=150, pitch=50).tobytes(): voice for voice in (*TRAINING, *HELD_OUT)}
    missing = {*TRAINING, *HELD_OUT} - {*heard.values()}
    plain = heard.get(speak("one", "en-us", speed=150, pitch=50).tobytes())
    assert not missing, f"voices that this espeak-ng has under two names: {missing}"
    assert not plain, f"a voice that this espeak-ng lacks: {plain}"


def clip(voices: tuple[str, ...], random: Generator) -> Clip:
    """One to four digits in a voice, an accent, a speed and a pitch, without noise."""
    words = [WORDS[digit] for digit in random.integers(0, len(WORDS), size=random.integers(1, 5))]
    pauses = [", " if random.random() < 0.2 else " " for _ in words]
    spoken = "".join(f"{word}{pause}" for word, pause in zip(words, pauses, strict=True)).strip(" ,")
    voice = f"{random.choice(ACCENTS)}+{random.choice(voices)}"
    samples = speak(spoken, voice, speed=random.integers(120, 221), pitch=random.integers(20, 81))
    silence = [np.zeros(int(RATE * random.uniform(0.05, 0.3))) for _ in range(2)]
    return Clip(" ".join(words), np.concatenate([silence[0], samples, silence[1]]))


def speak(text: str, voice: str, speed: int, pitch: int) -> Samples:
    """The voice's samples at RATE; speed in words a minute, pitch from 0 to 99."""
    program = shutil.which("espeak-ng")
    assert program, "espeak-ng is not installed: apt-get install espeak-ng"
    done = subprocess.run(
        [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text], capture_output=True, check=True
    )
    samples = np.frombuffer(done.stdout[HEADER_BYTES:], np.int16) / 32768
    return soxr.resample(samples, ESPEAK_RATE, RATE)


def with_noise(samples: Samples, random: Generator, decibels: tuple[float, float]) -> Samples:
    """The samples at another loudness, in noise between white and pink at a signal-to-noise ratio in that range."""
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** random.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, len(samples))
    ratio = 10 ** (random.uniform(*decibels) / 20)
    noisy = samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2)) / ratio
    return noisy * random.uniform(0.1, 0.7) / np.abs(noisy).max()
