"""Expects an error by its code, so that its wording can be bettered."""

import pytest

from laion_assets.errors import LaionError
from laion_assets.settings import SettingsError


def raises(code: str) -> pytest.RaisesExc[LaionError | SettingsError]:
    """Returns a block that has to raise the error of ours with this code."""

    def has_code(error: LaionError | SettingsError) -> bool:
        assert error.code == code, error
        return True

    return pytest.raises((LaionError, SettingsError), check=has_code)
