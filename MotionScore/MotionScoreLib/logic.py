"""Turns nodes into inputs, runs grading as a job, and hands results to the scene. Usable without the panel."""

import html
import os

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MotionScoreLib.parameters import GradingUnit, MotionScoreParameterNode

MEANING = {
    1: "no visible motion",
    2: "slight streaks",
    3: "some streaks, cortex intact",
    4: "pronounced streaks, cortex interrupted",
    5: "severe streaks, structures torn apart",
}
LOAD_UNIT_SETTING = "SpineMotionTools/ScancoLoadUnit"


class MotionScoreLogic(ScriptedLoadableModuleLogic):
    """From the Python console:

    >>> result = slicer.util.getModuleLogic("MotionScore").grade(volumeNode)
    >>> result.grade, result.confidence_percent, result.stack_grades
    """

    SAMPLE_STACK_HEIGHT = 14

    def getParameterNode(self):
        return MotionScoreParameterNode(super().getParameterNode())

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
        from SpineMotionToolsLib.common.jobs import run_job

        parameters = self._parameters(volumeNode, model, stackHeight, incompleteStack, rules, unit, device, sliceStep)
        with _InputFiles(volumeNode, parameters) as parameters:
            result = self._resultFrom(run_job("motion.tasks:grade", parameters))
        if show:
            self._show(self.getParameterNode(), volumeNode, result)
        return result

    def startGrading(self, parameterNode, onProgress):
        """Start grading the chosen volume in a child process; returns the job."""
        return self._start("motion.tasks:grade", parameterNode, {}, onProgress)

    def finishGrading(self, parameterNode, volumeNode, jobResult):
        """Put the finished job's grades into the scene; returns the `MotionResult`."""
        result = self._resultFrom(jobResult)
        self._show(parameterNode, volumeNode, result)
        return result
