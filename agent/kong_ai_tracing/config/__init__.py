"""The configuration: file and environment in, one frozen `Config` out, or every problem at once."""

from kong_ai_tracing.config.loading import Loaded, find_config_file, load, load_config
from kong_ai_tracing.config.problems import ConfigError, Problem
from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.config.tables import Delivery, Grouping, Local, Privacy, Redaction, Tailing

__all__ = [
    "Config",
    "ConfigError",
    "Delivery",
    "Grouping",
    "Loaded",
    "Local",
    "Privacy",
    "Problem",
    "Redaction",
    "Tailing",
    "find_config_file",
    "load",
    "load_config",
]
