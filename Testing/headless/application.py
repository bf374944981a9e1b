"""`slicer.app`: owns the scene, the logics and the settings, and fills the gaps in the `slicer` namespace."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import traceback
import types
from pathlib import Path

import slicer
import slicer.util
import vtk

from Testing.headless import environment, pythonqt, terminology

LOGICS = {  # name in vtkMRMLApplicationLogic -> class in the wheel
    "Colors": "vtkMRMLColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


class HeadlessApplication:
    """The application object. One per process: `HeadlessApplication.instance()`.

    Beside Slicer's own methods: `dialogs` (what was shown, answers to give), `uncaught` (exceptions that escaped from a
    slot or an observer and were not shown to the user), `vtk_errors`, `testing` (what `testingEnabled()` returns),
    `startup_completed()`.
    """

    applicationName, organizationName, organizationDomain = "Slicer", "NA-MIC", "www.na-mic.org"
    majorVersion, minorVersion, applicationVersion = 5, 13, "5.13.0"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
    _instance: HeadlessApplication | None = None

    @classmethod
    def instance(cls) -> HeadlessApplication:
        """The application; made at the first call, which also makes `import slicer` look like Slicer."""
        if cls._instance is None:
            cls._instance = cls()
            cls._instance._install()
        return cls._instance

    def __init__(self):
        from Testing.headless.dialogs import Dialogs
        from Testing.headless.iomanager import IOManager

        self._qt = pythonqt.install()
        self._folder = Path(tempfile.mkdtemp(prefix="headless-slicer-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self.temporaryPath = str(self._folder / "temp")
        Path(self.temporaryPath).mkdir()
        self._qapp = self._qt.QApplication.instance() or self._qt.QApplication(["Slicer"])
        environment.use_own_font(self._qt)
        self._set_up_settings()
        self.testing, self.uncaught, self.vtk_errors = False, [], []
        self.dialogs = Dialogs()
        self._listen_to_errors()
        self._startup_slots: list = []
        self._make_scene()
        slicer.mrmlScene = self._scene
        self._io = IOManager()
        self._layout = self._modules = None

    def _set_up_settings(self) -> None:
        settings = self._qt.QSettings
        settings.setDefaultFormat(settings.IniFormat)
        settings.setPath(settings.IniFormat, settings.UserScope, str(self._folder))
        self._qapp.setOrganizationName(self.organizationName)
        self._qapp.setApplicationName(self.applicationName)

    def _listen_to_errors(self) -> None:
        window = vtk.vtkOutputWindow.GetInstance()

        @vtk.calldata_type(vtk.VTK_STRING)
        def record(caller, event, text):
            self.vtk_errors.append(text)

        window.AddObserver(vtk.vtkCommand.ErrorEvent, record)
        before = sys.excepthook

        def escaped(kind, error, trace):
            if any(error is shown for shown in self.dialogs.displayed_errors):
                return  # the user saw it: tryWithErrorDisplay shows, then raises again
            self.uncaught.append("".join(traceback.format_exception(kind, error, trace)))
            before(kind, error, trace)

        sys.excepthook = escaped

    def _make_scene(self) -> None:
        self._scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self._scene.AddNode(crosshair)
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetMRMLScene(self._scene)
        self._logic.SetTemporaryPath(self.temporaryPath)
        self._logic.GetColorLogic().SetMRMLScene(self._scene)
        self._logic.GetColorLogic().AddDefaultColorNodes()
        self._logic.SetSliceLogics(vtk.vtkCollection())
        self._logic.SetViewLogics(vtk.vtkCollection())
        share = self._folder / "share"
        share.mkdir()
        terminology.write(share)
        self.logics = {}  # the application logic does not keep Python's objects alive
        for name, class_name in LOGICS.items():
            logic = getattr(slicer, class_name)()
            if hasattr(logic, "SetModuleShareDirectory"):
                logic.SetModuleShareDirectory(str(share))
            logic.SetMRMLScene(self._scene)
            logic.SetMRMLApplicationLogic(self._logic)
            self._logic.SetModuleLogic(name, logic)
            self.logics[name] = logic
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)
        self._make_remote_io()

    def _make_remote_io(self) -> None:
        """`.mrb` files are unpacked into the cache of these objects."""
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(self._scene)
        self._remote.SetMRMLApplicationLogic(self._logic)
        cache = self._folder / "cache"
        cache.mkdir()
        self._remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(self._scene)
        self._data_io.SetMRMLApplicationLogic(self._logic)
        self._data_io.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()

    def _install(self) -> None:
        from Testing.headless import layout, modules, namespace

        slicer.app = self
        namespace.fill(self)
        self._modules = modules.ModuleManager(self)
        self._layout = layout.LayoutManager(self)
        self.dialogs.install(slicer.util)

    # -- what module code calls ------------------------------------------------------------------------------------
    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return self._layout

    def testingEnabled(self) -> bool:
        return self.testing

    def settings(self):
        return self._qt.QSettings()

    userSettings = revisionUserSettings = settings

    def processEvents(self, *_) -> None:
        self._qapp.processEvents()

    def connect(self, signature: str, slot) -> bool:
        if signature != "startupCompleted()":
            raise AttributeError(f"QObject::connect() signal '{signature}' is not known to the headless application")
        self._startup_slots.append(slot)
        return True

    def disconnect(self, signature: str, slot) -> bool:
        self._startup_slots.remove(slot)
        return True

    def startup_completed(self) -> None:
        """Send `startupCompleted()`, which Slicer sends once, after all modules are loaded."""
        slots, self._startup_slots = self._startup_slots, []
        for slot in slots:
            slot()

    def startupEnvironment(self):
        return self._qt.QProcessEnvironment.systemEnvironment()

    def topLevelWidgets(self) -> list:
        return []  # no main window

    def setOverrideCursor(self, cursor) -> None:
        self._qapp.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qapp.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Views are only drawn when a picture is asked for."""

    resumeRender = pauseRender

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def clipboard(self):
        return self._qapp.clipboard()

    def palette(self):
        return self._qapp.palette()

    def style(self):
        return self._qapp.style()

    def restart(self) -> None:
        self.dialogs.tell("restart", "restart")


def register_module(name: str, **members) -> types.ModuleType:
    """Make `import <name>` give a module with these members; `slicer.x` also becomes an attribute of `slicer`."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    if name.startswith("slicer."):
        setattr(slicer, name.removeprefix("slicer."), module)
    return module
