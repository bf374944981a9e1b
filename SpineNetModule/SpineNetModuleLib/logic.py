"""Turns nodes into inputs, reads spines as jobs, corrects them, and hands results to the scene. Needs no panel."""

import os

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from SpineNetModuleLib import corrections, texts
from SpineNetModuleLib.history import History
from SpineNetModuleLib.parameters import ShownTable, SpineNetModuleParameterNode

SAMPLE_FILE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", "Data", "LumbarMRI.nrrd")
SAMPLE_WINDOW = (20.0, 150.0)  # gray values; the fat under the skin is far brighter than bone
SIDE_UNKNOWN = "SideUnknown"


class SpineNetModuleLogic(ScriptedLoadableModuleLogic):
    """From the Python console:

    >>> spine = slicer.util.getModuleLogic("SpineNetModule").read(volumeNode)
    >>> spine.labels, spine.grade_table().rows, spine.measurements.discs[0].slip_mm
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.history = History()
        self._parsed = (None, None)  # the result node's text, and its spine

    def getParameterNode(self):
        from SpineMotionToolsGui.binding import readable

        return readable(SpineNetModuleParameterNode, super().getParameterNode())

    # -- reading --------------------------------------------------------------------------------------------------

    def read(
        self,
        volumeNode,
        model="spinenet-starter",
        device="auto",
        penaliseSkips=True,
        removeSingleSlices=True,
        show=True,
    ):
        """Read a volume and wait for the result (a `Spine`); with `show`, also put it into the scene.

        Raises InputError, WeightsError or JobError with a sentence that names the next step.
        """
        from SpineMotionToolsLib.common.jobs import start_job

        options = dict(
            model=model,
            device=device,
            penalise_skips=penaliseSkips,
            remove_single_slice_detections=removeSingleSlices,
        )
        job = self._start(start_job, "spinenet.tasks:read", volumeNode, options)
        try:
            spine = self._spineFrom(job.wait(), volumeNode)
        finally:
            job.close()
        if show:
            self._showReading(self.getParameterNode(), volumeNode, spine, model)
        return spine

    def startReading(self, parameterNode, onProgress):
        """Start reading the chosen volume in a child process; returns the job."""
        from SpineMotionToolsLib.common.jobs import start_job

        options = dict(
            model=parameterNode.model,
            device=parameterNode.device.value,
            penalise_skips=parameterNode.penaliseSkips,
            remove_single_slice_detections=parameterNode.removeSingleSlices,
        )
        return self._start(start_job, "spinenet.tasks:read", parameterNode.inputVolume, options, onProgress)

    def finishReading(self, parameterNode, volumeNode, jobResult):
        """Put a finished job's spine into the scene; returns the `Spine`."""
        from SpineMotionToolsLib.scene import nodes, spinenet

        spine = self._spineFrom(jobResult, volumeNode)
        model = jobResult.get("model", parameterNode.model)
        if parameterNode.inputVolume is volumeNode:
            self._showReading(parameterNode, volumeNode, spine, model)
        else:  # the user went on to another scan
            shown = spinenet.show_spine(slicer.mrmlScene, volumeNode, spine)
            nodes.set_attribute(shown.result, "Model", model)
        return spine

    def startUpdate(self, parameterNode, onProgress):
        """Grade what a correction changed, and measure, in a child process; returns the job."""
        from SpineMotionToolsLib.common.jobs import start_job
        from SpineMotionToolsLib.scene import nodes

        options = dict(
            model=nodes.attribute(parameterNode.result, "Model", parameterNode.model),
            device=parameterNode.device.value,
            spine=self.resultOf(parameterNode).to_json(),
        )
        return self._start(start_job, "spinenet.tasks:grade", parameterNode.inputVolume, options, onProgress)

    def finishUpdate(self, parameterNode, volumeNode, jobResult):
        """Show the grades and measurements of a finished update; the corrections stay undoable. Returns the `Spine`."""
        from SpineMotionToolsLib.scene import spinenet

        spine = self._spineFrom(jobResult, volumeNode)
        if parameterNode.inputVolume is volumeNode:
            self._show(parameterNode, volumeNode, spine)
        else:  # the user went on to another scan
            spinenet.show_spine(slicer.mrmlScene, volumeNode, spine)
        return spine

    def _start(self, start, task, volumeNode, options, onProgress=None):
        """Write the voxels where the child can read them, and start it; the folder goes with the job."""
        import tempfile

        from SpineMotionToolsLib.scene import nodes

        volume = nodes.volume_of(volumeNode)
        folder = tempfile.TemporaryDirectory(prefix="SpineMotionTools-")
        voxels = os.path.join(folder.name, "scan.npy")
        np.save(voxels, volume.array, allow_pickle=False)
        scan = {"voxels_kji": voxels, "ijk_to_ras": volume.ijk_to_ras.tolist(), "name": volume.name}
        job = start(task, {"scan": scan, **options}, onProgress)
        job.inputFolder = folder  # removed with the job
        return job

    def _spineFrom(self, jobResult, volumeNode):
        from dataclasses import replace

        from SpineMotionToolsLib.scene import nodes
        from SpineMotionToolsLib.spinenet.results import Spine

        spine = Spine.from_json(jobResult["result"])
        if nodes.attribute(volumeNode, SIDE_UNKNOWN, False) and texts.sideWarning() not in spine.warnings:
            spine = replace(spine, warnings=(*spine.warnings, texts.sideWarning()))
        return spine

    def _showReading(self, parameterNode, volumeNode, spine, model):
        from SpineMotionToolsLib.scene import nodes

        self._show(parameterNode, volumeNode, spine)
        if spine.grades_are_demonstration and parameterNode.shownTable is ShownTable.GRADES:
            parameterNode.shownTable = ShownTable.DISCS  # first what has a meaning
        nodes.set_attribute(parameterNode.result, "Model", model)
        self.forgetCorrections()
        self.history.wrote(parameterNode.result.GetText())

    def _show(self, parameterNode, volumeNode, spine):
        from SpineMotionToolsLib.scene import spinenet

        existing = self._nodes(parameterNode)
        if existing.result is not None and spinenet.scan_of(existing.result) is not volumeNode:
            existing = None  # those in use belong to another scan
        shown = spinenet.show_spine(slicer.mrmlScene, volumeNode, spine, existing, parameterNode.cornersInAllSlices)
        self.history.wrote(shown.result.GetText())
        with slicer.util.NodeModify(parameterNode):
            parameterNode.inputVolume = volumeNode
            self._use(parameterNode, shown)

    def _use(self, parameterNode, shown):
        """Make the nodes of a result those that the panel shows."""
        with slicer.util.NodeModify(parameterNode):
            parameterNode.result = shown.result
            parameterNode.segmentation = shown.segmentation
            parameterNode.centers = shown.centers
            parameterNode.corners = shown.corners
            parameterNode.gradeTable = shown.grades
            parameterNode.discTable = shown.discs
            parameterNode.bodyTable = shown.bodies
            parameterNode.angleTable = shown.angles

    def _nodes(self, parameterNode):
        from SpineMotionToolsLib.scene.spinenet import SpineNodes

        return SpineNodes(
            parameterNode.result,
            parameterNode.segmentation,
            parameterNode.centers,
            parameterNode.corners,
            parameterNode.gradeTable,
            parameterNode.discTable,
            parameterNode.bodyTable,
            parameterNode.angleTable,
        )

    def resultOf(self, parameterNode):
        """The `Spine` of the chosen volume, or None when it has not been read."""
        from SpineMotionToolsLib.scene import nodes, spinenet

        node = parameterNode.result
        if not nodes.has_text_of(node, parameterNode.inputVolume):
            return None
        text = node.GetText()
        if text != self._parsed[0]:
            self._parsed = (text, spinenet.spine_of(node))
        self.history.follow(text)
        return self._parsed[1]

    def takeOverResult(self, parameterNode):
        """Show the result that the chosen volume already has: of another volume's turn, a batch or a loaded scene."""
        from SpineMotionToolsLib.scene import spinenet, spinenet_points

        volume = parameterNode.inputVolume
        if volume is None or spinenet.scan_of(parameterNode.result) is volume:
            return
        found = spinenet.find_spine(slicer.mrmlScene, volume)
        if found.result is not None:
            self._use(parameterNode, found)
            if found.centers is not None:
                spinenet_points.project_names(found.centers)  # a batch made the scene without views
            self.forgetCorrections()

    # -- corrections ----------------------------------------------------------------------------------------------

    def correct(self, parameterNode, edit):
        """Make a correction: `edit(spine)` returns the corrected spine (functions of `spinenet.editing`).

        Heights and angles are measured at once; grades of changed discs and disc signal follow with an update. Raises
        InputError for a correction that makes no sense, and then nothing changes.
        """
        from SpineMotionToolsLib.spinenet.pipeline import measure

        before = self.resultOf(parameterNode)
        after = measure(edit(before))
        self.history.did(before)
        self._show(parameterNode, parameterNode.inputVolume, after)
        return after

    def forgetCorrections(self):
        """Start a new history: nothing can be undone; the result still lists its corrections."""
        self.history = History()

    def undo(self, parameterNode):
        """Take the last correction back; returns the spine before it."""
        return self._travel(parameterNode, self.history.undo)

    def redo(self, parameterNode):
        """Make the correction again that was taken back last."""
        return self._travel(parameterNode, self.history.redo)

    def _travel(self, parameterNode, step):
        spine = step(self.resultOf(parameterNode))
        self._show(parameterNode, parameterNode.inputVolume, spine)
        return spine

    def moveDraggedCorner(self, parameterNode):
        """Take over a corner that was dragged in a view; returns the spine, or None when no corner has moved.

        A corner that makes no outline goes back to where it was, and InputError says why.
        """
        from SpineMotionToolsLib.common.errors import InputError
        from SpineMotionToolsLib.scene import spinenet_points
        from SpineMotionToolsLib.spinenet import editing

        spine = self.resultOf(parameterNode)
        moved = spinenet_points.moved_corner(parameterNode.corners, spine) if spine is not None else None
        if moved is None:
            return None
        try:
            return self.correct(
                parameterNode,
                lambda s: editing.move_corner(s, moved.vertebra, moved.slice_number, moved.corner, moved.position_ras),
            )
        except InputError:
            self.showCorners(parameterNode)
            raise

    def showCorners(self, parameterNode):
        """Put the corner points where the spine has them, in the middle slices or in all."""
        from SpineMotionToolsLib.scene import spinenet_points

        spine = self.resultOf(parameterNode)
        if spine is not None and parameterNode.corners is not None:
            spinenet_points.show_corners(
                parameterNode.corners, parameterNode.inputVolume, spine, parameterNode.cornersInAllSlices
            )

    def addDrawn(self, parameterNode, node):
        """Add the vertebra whose four corners lie in the list of points; returns the spine."""
        points = np.array([node.GetNthControlPointPosition(index) for index in range(4)])
        return self.correct(parameterNode, lambda spine: corrections.addDrawn(spine, points))

    # -- views and files ------------------------------------------------------------------------------------------

    def jumpToRow(self, parameterNode, table, row, level=None):
        """Move the views to a row of a table ("grades", "discs", "bodies" or "angles"); returns its vertebra's index.

        `level`: what the row reads, so that a table sorted by the user leads to the right place. Of a disc the vertebra
        is the upper one, of an angle the one in its middle; None when there is no such row.
        """
        from SpineMotionToolsLib.scene import spinenet
        from SpineMotionToolsLib.scene.spinenet_points import nearest_vertebra

        spine = self.resultOf(parameterNode)
        if spine is None:
            return None
        levels = spinenet.levels_of(spine, table)
        if level in levels and levels[row : row + 1] != [level]:
            row = levels.index(level)
        position = spinenet.place_of(spine, table, row)
        if position is None:
            return None
        spinenet.jump_to(slicer.mrmlScene, parameterNode.inputVolume, position)
        if table in ("grades", "discs"):
            return next(disc.upper for disc in spine.discs if disc.level == levels[row])
        return row if table == "bodies" else nearest_vertebra(spine, position)

    def showMiddle(self, parameterNode):
        """Show the scan in its own planes, so that outlines lie in its slices, at the spine's middle vertebra."""
        volume, spine = parameterNode.inputVolume, self.resultOf(parameterNode)
        views = slicer.app.layoutManager()  # None without a main window
        shown = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        new = any(view.GetBackgroundVolumeID() != volume.GetID() for view in shown)
        slicer.util.setSliceViewerLayers(background=volume, fit=new, rotateToVolumePlane=views is not None)
        if spine is not None:
            self.jumpToRow(parameterNode, "bodies", len(spine.vertebrae) // 2)

    def exportCsv(self, parameterNode, folder):
        """Write vertebrae, corners, grades, probabilities and measurements as CSV; returns the file names."""
        from SpineMotionToolsLib.common.files import safe_name

        spine = self.resultOf(parameterNode)
        grades = "grades_demonstration" if spine.grades_are_demonstration else "grades"
        tables = {
            "vertebrae": spine.vertebra_table(),
            "corners": spine.corner_table(),
            grades: spine.grade_table(),
            f"{grades}_probabilities": spine.probability_table(),
        }
        if spine.measurements is not None:
            tables["bodies"] = spine.measurements.vertebra_table()
            tables["discs"] = spine.measurements.disc_table()
            tables["angles"] = spine.measurements.angle_table()
        scan = safe_name(parameterNode.inputVolume.GetName())
        names = {f"{scan}_spine_{suffix}.csv": table for suffix, table in tables.items()}
        for name, table in names.items():
            table.to_csv(os.path.join(folder, name))
        return list(names)

    def exportReport(self, parameterNode, path):
        """Write one HTML file with key pictures, grades, measurements and how they were made."""
        from SpineMotionToolsLib.scene import nodes
        from SpineMotionToolsLib.spinenet.inputs import read_scan
        from SpineMotionToolsLib.spinenet.report import spine_report

        volume = parameterNode.inputVolume
        title = _("Spine MRI: {scan}").format(scan=volume.GetName())
        spine_report(self.resultOf(parameterNode), read_scan(nodes.volume_of(volume)), title).write(path)

    def exportDicom(self, parameterNode, folder):
        """Write a DICOM segmentation and report and list them in Slicer's DICOM database; returns the file names.

        Raises InputError when the scan was not loaded from DICOM.
        """
        from SpineMotionToolsGui import dicom
        from SpineMotionToolsLib.spinenet.dicom import write_dicom
        from SpineMotionToolsLib.spinenet.editing import edits_of

        spine = self.resultOf(parameterNode)
        source = dicom.sourceOf(parameterNode.inputVolume)
        reviewer = dicom.reviewerName() if edits_of(spine) else None
        paths = write_dicom(spine, source, folder, f"spine-{source.file_tag}", reviewer)
        dicom.addToDatabase(paths)
        return [path.name for path in paths]

    @staticmethod
    def scanText(volumeNode):
        """What the panel says about the chosen volume."""
        from SpineMotionToolsGui.scans import sequenceNote
        from SpineMotionToolsLib.scene import nodes

        text = texts.scanText(volumeNode)
        unknown = text and nodes.attribute(volumeNode, SIDE_UNKNOWN, False)
        return "<br>".join(filter(None, [text, texts.sideWarning() if unknown else "", sequenceNote(volumeNode)]))

    @staticmethod
    def loadSample():
        """A real lumbar MRI that ships with the module, as a volume node; see LumbarMRI.md beside it."""
        from SpineMotionToolsLib.common.volumes import read_volume
        from SpineMotionToolsLib.scene import nodes, spinenet

        node = spinenet.add_scan(slicer.mrmlScene, read_volume(SAMPLE_FILE), SAMPLE_WINDOW)
        nodes.set_attribute(node, SIDE_UNKNOWN, True)
        return node
