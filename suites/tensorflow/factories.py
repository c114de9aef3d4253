"""Small models of Keras and TensorFlow with seeded random weights: for conversion and numerics, not for meaning."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SEED = 2024
TOKENS, LENGTH, WIDTH = 200, 16, 32


def separable_cnn() -> keras.Model:
    """Depthwise separable convolutions as MobileNet has them: `image` [n, 32, 32, 3], channels last, to 10 logits."""
    keras.utils.set_random_seed(SEED)
    image = keras.Input((32, 32, 3), name="image")
    hidden = _normed(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image))
    for width, strides in ((32, 1), (64, 2), (64, 1)):
        hidden = _normed(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(hidden))
        hidden = _normed(layers.Conv2D(width, 1, use_bias=False)(hidden))
    hidden = layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(image, layers.Dense(10, name="logits")(hidden))
    _settle(model)
    return model


def encoder() -> keras.Model:
    """One layer of a transformer: `ids` [n, 16] of 200 tokens and `mask` [n, 16] to a vector of 32."""
    keras.utils.set_random_seed(SEED)
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    mask = keras.Input((LENGTH,), name="mask")
    hidden = layers.Embedding(TOKENS, WIDTH)(ids)
    seen = layers.Reshape((1, LENGTH))(mask)
    attended = layers.MultiHeadAttention(4, WIDTH // 4)(hidden, hidden, attention_mask=seen)
    hidden = layers.LayerNormalization()(hidden + attended)
    wide = layers.Dense(4 * WIDTH, activation="gelu")(hidden)
    hidden = layers.LayerNormalization()(hidden + layers.Dense(WIDTH)(wide))
    weights = layers.Reshape((LENGTH, 1))(mask)
    pooled = layers.Lambda(_mean, output_shape=(WIDTH,), name="vector")([hidden, weights])
    return keras.Model([ids, mask], pooled)


class Smoother(tf.Module):
    """A tf.Module without Keras: `signal` [n, 64] is smoothed until it has been so three times."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(SEED).random((5, 1, 1), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, name="signal")])
    def __call__(self, signal: tf.Tensor) -> dict[str, tf.Tensor]:
        """The smoothed signal, and how much was taken away."""
        kernel = self.kernel / tf.reduce_sum(self.kernel)
        smooth = signal[:, :, None]
        for _ in range(3):
            smooth = tf.nn.conv1d(smooth, kernel, stride=1, padding="SAME")
        smooth = smooth[:, :, 0]
        return {"smooth": smooth, "rest": signal - smooth}


def smoother() -> tf.Module:
    """The module above."""
    return Smoother()


def _normed(hidden: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(max_value=6.0)(layers.BatchNormalization()(hidden))


def _mean(parts: list[tf.Tensor]) -> tf.Tensor:
    hidden, weights = parts
    return tf.reduce_sum(hidden * weights, axis=1) / tf.reduce_sum(weights, axis=1)


def _settle(model: keras.Model) -> None:
    """Give batch norms the statistics of noise: with the mean 0 and variance 1 of the start they change nothing."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0  # the last batch alone
    model(np.random.default_rng(SEED).random((32, *model.input_shape[1:]), np.float32), training=True)
