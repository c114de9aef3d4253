"""trt-harness: accuracy and performance regression harness for deep-learning inference."""

__version__ = "0.1.0"
