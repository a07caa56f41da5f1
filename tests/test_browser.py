"""The tool that opens the book in a browser finds one, or says what is wrong."""

import gzip

import pytest

import accessibility
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


def test_axe_core_is_the_script_that_was_read():
    script = accessibility.axe_core()
    if script is None:
        pytest.skip("axe-playwright-python is not installed: no page was checked for barriers")
    assert script.startswith("/*! axe v4.12.1")


def test_another_script_than_the_one_that_was_read_is_refused():
    expected = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert accessibility.checked(b"hello world", expected) == b"hello world"
    with pytest.raises(ValueError, match=r"axe.min.js: SHA-256 \w+ given, expected b94d"):
        accessibility.checked(b"hello, world", expected)


def test_a_page_weighs_what_is_sent_compressed_each_file_once(tmp_path):
    (tmp_path / "a.html").write_text("a" * 5000)
    (tmp_path / "b.png").write_bytes(b"b" * 5000)
    base = "http://127.0.0.1:1/"
    asked = [base + "a.html#top", base + "a.html?x=1", base + "b.png", base + "gone.css",
             "data:,x", "http://elsewhere.example/c.js"]
    assert browser.weight(tmp_path, base, asked) == len(gzip.compress(b"a" * 5000, 6)) + 5000
