"""Turns nodes into inputs, runs grading as a job, and hands results to the scene. Usable without the panel."""

import html
import os

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MotionScoreLib.parameters import MotionScoreParameterNode

LOAD_UNIT_SETTING = "SpineMotionTools/ScancoLoadUnit"


class MotionScoreLogic(ScriptedLoadableModuleLogic):
    """From the Python console:

    >>> result = slicer.util.getModuleLogic("MotionScore").grade(volumeNode)
    >>> result.grade, result.confidence_percent, result.stack_grades
    """

    SAMPLE_STACK_HEIGHT = 8
    SAMPLE_GRADES = (1, 3, 5)

    def getParameterNode(self):
        from SpineMotionToolsGui.binding import readable

        return readable(MotionScoreParameterNode, super().getParameterNode())

    # -- grading --------------------------------------------------------------------------------------------------

    def grade(
        self,
        volumeNode,
        model="motion-starter",
        stackHeight=168,
        incompleteStack="keep_last",
        rules="newer",
        unit="auto",
        device="auto",
        sliceStep=1,
        show=True,
    ):
        """Grade a volume and wait for the result (a `MotionResult`); with `show`, also put it into the scene.

        Raises InputError, WeightsError or JobError with a sentence that names the next step.
        """
        from SpineMotionToolsLib.common.jobs import start_job

        job = self._start(
            start_job,
            "motion.tasks:grade",
            volumeNode,
            dict(
                model=model,
                stack_height=stackHeight,
                incomplete=incompleteStack,
                rules=rules,
                unit=unit,
                device=device,
                slice_step=sliceStep,
            ),
        )
        try:
            result = self._resultFrom(job.wait())
        finally:
            job.close()
        if show:
            self._show(self.getParameterNode(), volumeNode, result)
        return result

    def startGrading(self, parameterNode, onProgress):
        """Start grading the chosen volume in a child process; returns the job."""
        return self._startFrom("motion.tasks:grade", parameterNode, {}, onProgress)

    def finishGrading(self, parameterNode, volumeNode, jobResult):
        """Put a finished job's grades into the scene; returns the `MotionResult`. The chosen volume stays chosen."""
        from SpineMotionToolsLib.scene import motion

        result = self._resultFrom(jobResult)
        if parameterNode.inputVolume is volumeNode:
            self._show(parameterNode, volumeNode, result)
        else:  # the user went on to another scan
            motion.show_result(slicer.mrmlScene, volumeNode, result)
        return result

    def startAttention(self, parameterNode, onProgress):
        """Start the attention map of the chosen, graded volume; returns the job."""
        import json

        extra = {"mode": parameterNode.attentionMode.value, "result": json.loads(parameterNode.result.GetText())}
        return self._startFrom("motion.tasks:explain", parameterNode, extra, onProgress)

    def finishAttention(self, parameterNode, volumeNode, jobResult, show=True):
        """Put a finished attention map into the scene; with `show`, over its scan in the views."""
        from SpineMotionToolsLib.scene import motion

        attention = np.load(jobResult["attention"], allow_pickle=False)
        opacity = parameterNode.attentionOpacity if show else None
        overlay = motion.show_attention(slicer.mrmlScene, volumeNode, attention, opacity)
        if parameterNode.inputVolume is volumeNode:
            parameterNode.attentionVolume = overlay

    def _startFrom(self, task, parameterNode, extra, onProgress):
        from SpineMotionToolsLib.common.jobs import start_job

        options = dict(
            model=parameterNode.model,
            stack_height=parameterNode.stackHeight,
            incomplete=parameterNode.incompleteStack.value,
            rules=parameterNode.rules.value,
            unit=parameterNode.gradingUnit.value,
            device=parameterNode.device.value,
            slice_step=1,
            **extra,
        )
        return self._start(start_job, task, parameterNode.inputVolume, options, onProgress)

    def _start(self, start, task, volumeNode, options, onProgress=None):
        """Write the voxels where the child can read them, and start it; the folder goes with the job."""
        import tempfile

        from SpineMotionToolsLib.scene import motion, nodes

        volume = nodes.volume_of(volumeNode)
        unit, calibration = motion.unit_and_calibration(volumeNode)
        folder = tempfile.TemporaryDirectory(prefix="SpineMotionTools-")
        voxels = os.path.join(folder.name, "scan.npy")
        np.save(voxels, volume.array, allow_pickle=False)
        parameters = {
            "scan": {
                "voxels_kji": voxels,
                "ijk_to_ras": volume.ijk_to_ras.tolist(),
                "name": volume.name,
                "unit": unit or "unknown",
                "calibration": calibration.to_json() if calibration else None,
            },
            **options,
        }
        job = start(task, parameters, onProgress)
        job.inputFolder = folder  # removed with the job
        return job

    def _resultFrom(self, jobResult):
        from SpineMotionToolsLib.motion.results import MotionResult

        return MotionResult.from_json(jobResult["result"])

    def _show(self, parameterNode, volumeNode, result):
        from SpineMotionToolsLib.scene import motion

        existing = motion.MotionNodes(parameterNode.result, parameterNode.gradeTable, parameterNode.gradeChart)
        if existing.result is not None and parameterNode.inputVolume is not volumeNode:
            existing = None  # those in use belong to another scan
        shown = motion.show_result(slicer.mrmlScene, volumeNode, result, existing)
        with slicer.util.NodeModify(parameterNode):
            parameterNode.inputVolume = volumeNode
            parameterNode.result = shown.result
            parameterNode.gradeTable = shown.table
            parameterNode.gradeChart = shown.chart

    # -- what the panel shows -------------------------------------------------------------------------------------

    def resultOf(self, parameterNode):
        """The `MotionResult` of the chosen volume, or None when it has not been graded."""
        from SpineMotionToolsLib.scene import motion, nodes

        text = parameterNode.result
        return motion.result_of(text) if nodes.has_text_of(text, parameterNode.inputVolume) else None

    def takeOverResult(self, parameterNode):
        """Show the result that the chosen volume already has: of another volume's turn, a batch or a loaded scene."""
        from SpineMotionToolsLib.scene import motion, nodes

        volume, text = parameterNode.inputVolume, parameterNode.result
        if volume is None or (text is not None and nodes.scan_of(text) is volume):
            return
        found = motion.find_result(slicer.mrmlScene, volume)
        if found.result is not None:
            with slicer.util.NodeModify(parameterNode):
                parameterNode.result = found.result
                parameterNode.gradeTable = found.table
                parameterNode.gradeChart = found.chart
                parameterNode.attentionVolume = motion.find_attention(slicer.mrmlScene, volume)

    def calibrationText(self, volumeNode, gradingUnit):
        """The unit and calibration of a volume, and what that means for grading, as rich text."""
        from SpineMotionToolsLib.motion.calibration import UNIT_LABELS
        from SpineMotionToolsLib.scene import motion

        unit, calibration = motion.unit_and_calibration(volumeNode)
        if not unit:
            return _("Unit unknown: graded as it is. Load the .AIM or .ISQ file itself to keep its calibration.")
        if calibration is None:
            return _("Unit: {unit}. The file has no calibration.").format(unit=UNIT_LABELS[unit])
        return _("Unit: {unit}. Calibration: {calibration}.").format(unit=UNIT_LABELS[unit], calibration=calibration)

    def gradeText(self, parameterNode, result, hidden):
        """The grade in large letters, its meaning and member agreement, as rich text."""
        from SpineMotionToolsLib.scene import nodes

        if hidden:
            return _("Hidden until you have graded the scan.")
        if result is None:
            if parameterNode and nodes.has_text_of(parameterNode.result, parameterNode.inputVolume):
                return _("The grades were made by a newer version or are damaged. Press Apply to make them again.")
            return _("Not graded yet.")
        from SpineMotionToolsLib.motion.results import GRADE_MEANINGS

        lines = [
            "<span style='font-size:xx-large'><b>" + _("Grade {grade}").format(grade=result.grade) + "</b></span>",
            html.escape(_sentence(GRADE_MEANINGS[result.grade])),
            _("Member agreement {percent} % (share of networks that agree; not a probability of being right).").format(
                percent=result.confidence_percent
            ),
            _("Worst stack: grade {grade} (stack {number}). Slices of grade 4 or 5: {share:.0f} %.").format(
                grade=result.worst_stack_grade, number=result.worst_stack + 1, share=100 * result.fraction_slices_ge4
            ),
        ]
        return "<br>".join(lines)

    def warningsText(self, result):
        """The result's warnings, starter models first, as rich text."""
        if result is None:
            return ""
        warnings = list(result.warnings)
        if result.starter:
            warnings.insert(0, _("Starter model: trained on simulated phantoms, not validated on patients."))
        return "<br>".join("\u26a0 " + html.escape(warning) for warning in dict.fromkeys(warnings))

    def updateDisplay(self, parameterNode, hidden):
        """Stack boxes and attention opacity follow the parameter node; a hidden result shows neither."""
        from SpineMotionToolsLib.scene import motion, nodes

        result = self.resultOf(parameterNode)
        wanted = parameterNode.showStackBoxes and result is not None and not hidden
        boxes = [box for box in parameterNode.stackBoxes if box is not None]
        key = (parameterNode.result.GetMTime(), parameterNode.inputVolume.GetID()) if result is not None else None
        if wanted and (not boxes or key != getattr(self, "_boxesOf", None)):
            self._boxesOf = key
            parameterNode.stackBoxes = motion.show_stack_boxes(
                slicer.mrmlScene, parameterNode.inputVolume, result, boxes
            )
        for box in motion.all_stack_boxes(slicer.mrmlScene):  # those of other scans too, e.g. of an imported scene
            box.SetDisplayVisibility(bool(wanted) and box in parameterNode.stackBoxes)
        overlay = parameterNode.attentionVolume
        if overlay is not None:
            opacity = 0.0 if hidden else parameterNode.attentionOpacity
            nodes.set_foreground_opacity(slicer.mrmlScene, overlay, opacity)

    def jumpToSlice(self, parameterNode, sliceIndex):
        """Center the slice views on a slice of the graded volume."""
        from SpineMotionToolsLib.scene import nodes

        volume = parameterNode.inputVolume
        if volume is None or volume.GetImageData() is None:
            return
        columns, rows, slices = volume.GetImageData().GetDimensions()
        if 0 <= sliceIndex < slices:
            nodes.jump_to_voxel(slicer.mrmlScene, volume, ((columns - 1) / 2, (rows - 1) / 2, sliceIndex))

    def jumpToPlotPoint(self, parameterNode, seriesID, pointIndex):
        """Go to the slice of a clicked point of the grade series; the stack borders are not clickable."""
        from SpineMotionToolsLib.scene import motion

        result, chart = self.resultOf(parameterNode), parameterNode.gradeChart
        if result is None or chart is None or chart.GetNthPlotSeriesNodeID(0) != seriesID:
            return
        self.jumpToSlice(parameterNode, motion.slice_of_plot_point(result, pointIndex))

    # -- files ----------------------------------------------------------------------------------------------------

    def exportCsv(self, parameterNode, folder):
        """Write the tables per slice, per stack and of the scan as CSV; returns the file names."""
        from SpineMotionToolsLib.common.files import safe_name

        result = self.resultOf(parameterNode)
        names = []
        for table, suffix in (
            (result.to_table(), "slices"),
            (result.stack_table(), "stacks"),
            (result.summary_table(), "scan"),
        ):
            names.append(f"{safe_name(result.scan.name)}_motion_{suffix}.csv")
            table.to_csv(os.path.join(folder, names[-1]))
        return names

    def exportReport(self, parameterNode, path):
        """Write one HTML file with the grade, the plot, key slices and how they were made."""
        from SpineMotionToolsLib.motion.report import scan_report
        from SpineMotionToolsLib.scene import nodes

        volume = nodes.volume_of(parameterNode.inputVolume)
        scan_report(self.resultOf(parameterNode), np.transpose(volume.array, (2, 1, 0))).write(path)

    def exportDicom(self, parameterNode, folder):
        """Write the grades as a DICOM report and list it in Slicer's DICOM database; returns the file names.

        Raises InputError when the scan was not loaded from DICOM.
        """
        from SpineMotionToolsGui import dicom
        from SpineMotionToolsLib.motion.dicom import write_dicom

        source = dicom.sourceOf(parameterNode.inputVolume)
        path = os.path.join(folder, f"motion-{source.file_tag}-report.dcm")
        write_dicom(self.resultOf(parameterNode), source, path)
        dicom.addToDatabase([path])
        return [os.path.basename(path)]

    @staticmethod
    def loadUnit():
        """Unit in which Scanco files are loaded: "native", "density" or "hu"."""
        return str(qt.QSettings().value(LOAD_UNIT_SETTING, "native"))

    @staticmethod
    def setLoadUnit(unit):
        qt.QSettings().setValue(LOAD_UNIT_SETTING, unit)

    @staticmethod
    def loadScan(path, name=None, unit=None):
        """Read a Scanco .AIM or .ISQ file as a volume node; the patient's name stays in the file."""
        from SpineMotionToolsLib.motion.inputs import read_scan
        from SpineMotionToolsLib.scene import motion

        scan = read_scan(path, unit or MotionScoreLogic.loadUnit())
        return motion.add_scan(
            slicer.mrmlScene, scan.array, scan.ijk_to_ras, name or scan.name, scan.unit, scan.calibration
        )

    @staticmethod
    def makeSampleScan():
        """A simulated radius scan with still and moving stacks as a volume node; made here, nothing is downloaded."""
        from SpineMotionToolsLib.motion.calibration import Calibration
        from SpineMotionToolsLib.phantoms import hrpqct
        from SpineMotionToolsLib.scene import motion

        slices = MotionScoreLogic.SAMPLE_STACK_HEIGHT * len(MotionScoreLogic.SAMPLE_GRADES)
        phantom = hrpqct.make_phantom(1, "radius", MotionScoreLogic.SAMPLE_GRADES, size=400, slices=slices)
        calibration = Calibration(hrpqct.MU_SCALING, hrpqct.MU_WATER, hrpqct.DENSITY_SLOPE, hrpqct.DENSITY_INTERCEPT)
        matrix = np.diag([-phantom.pixel_mm, -phantom.pixel_mm, phantom.pixel_mm, 1.0])
        return motion.add_scan(slicer.mrmlScene, phantom.volume, matrix, "HRpQCTPhantom", "native", calibration)


def _sentence(text):
    """A phrase with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
