"""Many clients on one model: nothing is mixed, nobody waits for another, every stream has a clear end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from runtime_builders import write_bundle
from serve_client import END, ENDED, ERROR, FRAMES, OUTPUTS, Client

import millstream_runtime
from millstream_runtime import Model
from millstream_runtime.errors import AddressInvalid, AddressTaken
from millstream_runtime.serve import Server, address
