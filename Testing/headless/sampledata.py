"""`SampleData`: what modules register at start-up, and the buttons of the Sample Data module."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import slicer


def _as_list(value, count: int) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


@dataclass
class SampleDataSource:
    """One button of the Sample Data module; lists have one entry per file."""

    sampleName: str | None
    uris: list = field(default_factory=list)
    fileNames: list = field(default_factory=list)
    nodeNames: list = field(default_factory=list)
    checksums: list = field(default_factory=list)
    loadFiles: list = field(default_factory=list)
    loadFileTypes: list = field(default_factory=list)
    customDownloader: object = None
    thumbnailFileName: str | None = None
    loadFileProperties: dict = field(default_factory=dict)
    sampleDescription: str | None = None


class SampleDataLogic:
    """Registration as in Slicer. Nothing is downloaded: a source without a custom downloader is refused."""

    @staticmethod
    def registerCustomSampleDataCategory(categoryName, title=None):
        _categories()[categoryName] = title or categoryName
        _sources().setdefault(categoryName, [])

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        if not isinstance(uris, (str, list, tuple)):
            raise TypeError(f'Sample {sampleName}: Slicer\'s SampleDataSource needs uris, "" where nothing is fetched')
        count = len(uris) if isinstance(uris, (list, tuple)) else 1
        if thumbnailFileName and not os.path.isfile(thumbnailFileName):  # Slicer would show an empty button
            raise FileNotFoundError(f"Thumbnail {thumbnailFileName} of sample {sampleName} does not exist")
        source = SampleDataSource(
            sampleName=sampleName,
            uris=_as_list(uris, count),
            fileNames=_as_list(fileNames, count),
            nodeNames=_as_list(nodeNames, count),
            checksums=_as_list(checksums, count),
            loadFiles=_as_list(loadFiles, count),
            loadFileTypes=_as_list(loadFileTypes or loadFileType, count),
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileProperties=loadFileProperties or {},
        )
        lengths = {len(source.uris), len(source.fileNames), len(source.nodeNames), len(source.checksums)}
        if len(lengths) != 1:
            raise ValueError(f"Sample {sampleName}: uris, fileNames, nodeNames and checksums differ in number")
        same_name = [known for known in _sources().setdefault(category, []) if known.sampleName == sampleName]
        for known in same_name:
            _sources()[category].remove(known)
        _sources()[category].append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        return _sources().get(category, []) if category else _sources()

    def sourceForSampleName(self, sampleName):
        found = (source for sources in _sources().values() for source in sources if source.sampleName == sampleName)
        return next(found, None)

    def downloadFromSource(self, source, **_):
        raise AssertionError(
            f"Sample {source.sampleName} would be downloaded, and in Slicer this call ignores a customDownloader; "
            "tests press the button instead: Testing.headless.sampledata.press(name)"
        )

    def downloadSample(self, sampleName):
        return self.downloadFromSource(self.sourceForSampleName(sampleName))

    downloadSamples = downloadSample


def download(sampleName):
    return SampleDataLogic().downloadSample(sampleName)


def press(sampleName: str):
    """Press a sample's button in the Sample Data module: calls its custom downloader with the source."""
    source = SampleDataLogic().sourceForSampleName(sampleName)
    if source is None:
        raise LookupError(f"No sample data set is called {sampleName}")
    return source.customDownloader(source) if source.customDownloader else SampleDataLogic().downloadFromSource(source)


def _sources() -> dict:
    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources


def _categories() -> dict:
    if not hasattr(slicer.modules, "sampleDataCategories"):
        slicer.modules.sampleDataCategories = {}
    return slicer.modules.sampleDataCategories
