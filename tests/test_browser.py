"""The tool that opens the book in a browser finds one, or says what is wrong."""

import pytest

import browser


def test_a_named_browser_is_used(tmp_path, monkeypatch):
    named = tmp_path / "chromium"
    named.touch()
    monkeypatch.setenv("LEAKLAB_CHROMIUM", str(named))
    assert browser.find_chromium() == str(named)


def test_a_named_browser_that_is_not_there_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKLAB_CHROMIUM", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"LEAKLAB_CHROMIUM: '.*gone' given, expected"):
        browser.find_chromium()


def test_without_any_browser_there_is_none(monkeypatch):
    monkeypatch.delenv("LEAKLAB_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    assert browser.find_chromium() is None
