"""`slicer.app.coreIOManager()`: which reader takes a file, loading and saving; used by `slicer.util` alone.

A file goes to the reader with the highest confidence: 0.5 + 0.01 x length of the longest matching extension, or what a
scripted reader's `canLoadFileConfidence` says. Confidences must be floats, and `load` must return True or False, as
Slicer demands.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from pathlib import Path

import slicer
import vtk

# file type -> (node class, storage class, extensions)
STORED = {
    "VolumeFile": (
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLVolumeArchetypeStorageNode",
        "nrrd nhdr nii nii.gz mha mhd hdr img tif tiff png jpg jpeg bmp dcm vti",
    ),
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", "seg.nrrd seg.nhdr seg.vtm"),
    "MarkupsFile": ("", "vtkMRMLMarkupsJsonStorageNode", "mrk.json json"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode", "csv tsv txt"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode", "h5 tfm mat"),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode", "vtk vtp stl ply obj"),
    "SequenceFile": ("vtkMRMLSequenceNode", "vtkMRMLVolumeSequenceStorageNode", "seq.nrrd seq.nhdr seq.mrb"),
    "TextFile": ("vtkMRMLTextNode", "vtkMRMLTextStorageNode", "txt json xml"),
}
SCENE_EXTENSIONS = "mrb mrml"


def matching_filters(filters: list[str], path: str) -> list[str]:
    """The wildcards in name filters such as "Image (*.nrrd *.nii)" that match a file's name, case ignored."""
    name = os.path.basename(path).lower()
    patterns = [pattern for text in filters for pattern in re.findall(r"\(([^)]*)\)", text)]
    return [pattern for text in patterns for pattern in text.split() if fnmatch.fnmatchcase(name, pattern.lower())]


def default_confidence(filters: list[str], path: str) -> float:
    lengths = [len(pattern.replace("*", "")) for pattern in matching_filters(filters, path)]
    return 0.5 + 0.01 * max(lengths) if lengths else 0.0


class FileReaderParent:
    """What Slicer hands to `<Module>FileReader(parent)` (qSlicerScriptedFileReader), with its reader."""

    __slots__ = ("_reader", "_messages", "loadedNodes")

    def __init__(self, reader_class):
        self._messages, self.loadedNodes = slicer.vtkMRMLMessageCollection(), []
        self._reader = reader_class(self)

    def mrmlScene(self):
        return slicer.mrmlScene

    def userMessages(self):
        return self._messages

    def supportedNameFilters(self, path: str) -> list[str]:
        """The extensions' wildcards that match the file."""
        return matching_filters(self._reader.extensions(), path)

    def fileType(self) -> str:
        return self._reader.fileType()

    def confidence(self, path: str) -> float:
        if hasattr(self._reader, "canLoadFileConfidence"):
            value = self._reader.canLoadFileConfidence(path)
            if not isinstance(value, float):
                raise TypeError(
                    f"{type(self._reader).__name__}.canLoadFileConfidence must return a float, not {value!r}"
                )
            return value
        if hasattr(self._reader, "canLoadFile"):
            return 0.5 if self._reader.canLoadFile(path) is True else 0.0
        return default_confidence(self._reader.extensions(), path)

    def load(self, properties: dict) -> list[str] | None:
        """IDs of the loaded nodes; None on failure."""
        self.loadedNodes = []
        self._messages.ClearMessages()
        done = self._reader.load(dict(properties))
        if not isinstance(done, bool):
            raise TypeError(f"{type(self._reader).__name__}.load must return True or False, not {done!r}")
        return list(self.loadedNodes) if done else None


class StoredFileReader:
    """Reads one of the file types of the `STORED` table."""

    def __init__(self, file_type: str):
        self._type, self._messages = file_type, slicer.vtkMRMLMessageCollection()
        self.node_class, self.storage_class, extensions = STORED[file_type]
        self.filters = [f"{file_type} ({' '.join('*.' + extension for extension in extensions.split())})"]

    def fileType(self) -> str:
        return self._type

    def userMessages(self):
        return self._messages

    def confidence(self, path: str) -> float:
        confidence = default_confidence(self.filters, path)
        ambiguous = path.lower().endswith((".json", ".txt")) and not path.lower().endswith(".mrk.json")
        return min(confidence, 0.5) if ambiguous else confidence

    def load(self, properties: dict) -> list[str] | None:
        path = str(properties["fileName"])
        if not os.path.isfile(path):
            self._messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File {path} does not exist.")
            return None
        node = getattr(self, f"_load_{self._type}", self._load_stored)(path, properties)
        if node is None:
            return None
        if properties.get("name"):
            node.SetName(slicer.mrmlScene.GenerateUniqueName(str(properties["name"])))
        return [node.GetID()]

    def _load_stored(self, path: str, properties: dict):
        stem = Path(path).name.split(".")[0]
        node = slicer.mrmlScene.AddNewNodeByClass(self.node_class, slicer.mrmlScene.GenerateUniqueName(stem))
        storage = slicer.mrmlScene.AddNewNodeByClass(self.storage_class)
        storage.SetFileName(path)
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            slicer.mrmlScene.RemoveNode(storage)
            slicer.mrmlScene.RemoveNode(node)
            return None
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    def _load_VolumeFile(self, path: str, properties: dict):
        options = 1 * bool(properties.get("labelmap")) + 2 * bool(properties.get("center"))
        options += 4 * bool(properties.get("singleFile"))
        name = slicer.mrmlScene.GenerateUniqueName(Path(path).name.split(".")[0])
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            selection = slicer.app.applicationLogic().GetSelectionNode()
            label = node.IsA("vtkMRMLLabelMapVolumeNode")
            set_active = selection.SetActiveLabelVolumeID if label else selection.SetActiveVolumeID
            set_active(node.GetID())
            slicer.app.applicationLogic().PropagateVolumeSelection()
        return node

    def _load_MarkupsFile(self, path: str, properties: dict):
        identifiers = slicer.modules.markups.logic().LoadMarkups(path, None)
        return slicer.mrmlScene.GetNodeByID(identifiers.split(",")[0]) if identifiers else None


class SceneReader:
    """Reads `.mrb` and `.mrml` files into the scene, closing the present one if the property `clear` is set."""

    filters = [f"Scene ({' '.join('*.' + extension for extension in SCENE_EXTENSIONS.split())})"]

    def __init__(self):
        self._messages = slicer.vtkMRMLMessageCollection()

    def fileType(self) -> str:
        return "SceneFile"

    def userMessages(self):
        return self._messages

    def confidence(self, path: str) -> float:
        return default_confidence(self.filters, path)

    def load(self, properties: dict) -> list[str] | None:
        path, scene = str(properties["fileName"]), slicer.mrmlScene
        clear = bool(properties.get("clear", False))
        if not os.path.isfile(path):
            self._messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File {path} does not exist.")
            return None
        if path.lower().endswith(".mrb"):
            return [] if scene.ReadFromMRB(path, clear) else None
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return [] if (scene.Connect() if clear else scene.Import()) else None


class IOManager:
    """`qSlicerCoreIOManager` as far as `slicer.util` calls it."""

    def __init__(self):
        self._readers = [StoredFileReader(file_type) for file_type in STORED] + [SceneReader()]

    def registerReader(self, reader) -> None:
        """Add a scripted reader (a FileReaderParent)."""
        self._readers.insert(0, reader)

    def unregisterReader(self, reader) -> None:
        self._readers.remove(reader)

    def registeredFileReaderCount(self, file_type: str) -> int:
        return sum(reader.fileType() == file_type for reader in self._readers)

    def _candidates(self, path: str, file_type: str | None = None) -> list:
        readers = [reader for reader in self._readers if file_type in (None, reader.fileType())]
        rated = [(reader.confidence(path), reader) for reader in readers]
        return [reader for rate, reader in sorted(rated, key=lambda pair: -pair[0]) if rate > 0]

    def fileType(self, path) -> str:
        return next((reader.fileType() for reader in self._candidates(str(path))), "NoFile")

    def loadNodes(self, file_type: str, properties: dict, loaded=None, messages=None) -> bool:
        for reader in self._candidates(str(properties["fileName"]), file_type):
            try:
                identifiers = reader.load(properties)
            except Exception:  # Slicer prints a scripted reader's exception and counts it as a failure
                sys.excepthook(*sys.exc_info())
                identifiers = None
            if messages is not None:
                messages.AddMessages(reader.userMessages())
            if identifiers is not None:
                for identifier in identifiers:
                    loaded.AddItem(slicer.mrmlScene.GetNodeByID(identifier))
                return True
        return False

    def fileWriterFileType(self, node) -> str:
        return "SceneFile" if node.IsA("vtkMRMLScene") else node.GetClassName()

    def saveNodes(self, file_type: str, properties: dict, messages=None) -> bool:
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path, messages)
        return self._write(slicer.mrmlScene.GetNodeByID(properties["nodeID"]), path, messages, keep=True)

    def _write(self, node, path: str, messages, keep: bool) -> bool:
        storage = node.GetStorageNode() if keep else None
        if storage is None:
            storage = slicer.mrmlScene.AddNode(self._new_storage(node))
            if keep:
                node.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(path)
        done = bool(storage.WriteData(node))
        if messages is not None:
            messages.AddMessages(storage.GetUserMessages())
        if not keep:
            slicer.mrmlScene.RemoveNode(storage)
        return done

    @staticmethod
    def _new_storage(node):
        """A storage node of the default class; a short text has none by itself, as it is saved in the scene file."""
        return node.CreateDefaultStorageNode() or slicer.vtkMRMLTextStorageNode()

    def _save_scene(self, path: str, messages) -> bool:
        scene = slicer.mrmlScene
        for index in range(scene.GetNumberOfNodes()):
            node = scene.GetNthNode(index)
            if node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene() and node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
        if path.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, messages))
        if path.lower().endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.Commit(path, messages))
        return bool(slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(path, None, messages))

    def save_data(self, folder: Path) -> Path:
        """File > Save Data: a file a node beside an `.mrml` file, whose path is returned; not part of Slicer's class.

        The dialog does not offer hidden nodes; the scene writes them into a folder of its own.
        """
        scene = slicer.mrmlScene
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            if node.GetHideFromEditors() or not node.GetSaveWithScene():
                continue
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
            if (storage := node.GetStorageNode()) is not None:
                path = Path(folder) / f"{node.GetName()}.{storage.GetDefaultWriteFileExtension()}"
                assert self._write(node, str(path), None, keep=True), f"{node.GetName()} was not saved"
        path = str(Path(folder) / "scene.mrml")
        scene.SetURL(path)
        scene.SetRootDirectory(str(folder))
        assert scene.Commit(path)
        return Path(path)

    def fileWriterExtensions(self, node) -> list[str]:
        types = self._new_storage(node).GetSupportedWriteFileTypes()
        return [types.GetValue(index) for index in range(types.GetNumberOfValues())]

    def extractKnownExtension(self, path: str, node) -> str:
        return self._new_storage(node).GetSupportedFileExtension(path, False, True)

    def exportNodes(self, identifiers, paths, properties, harden=False, messages=None) -> bool:
        nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in identifiers]
        if harden and any(node.GetParentTransformNode() is not None for node in nodes):
            raise NotImplementedError("The headless application does not harden transforms on export")
        return all(self._write(node, str(path), messages, keep=False) for node, path in zip(nodes, paths))
