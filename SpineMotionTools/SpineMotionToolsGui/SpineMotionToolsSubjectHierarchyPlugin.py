"""Context-menu actions of the subject hierarchy: "Read this spine", "Grade motion" and so on, where they make sense.

Slicer loads this file by its path and looks for the class of its name. An action opens the module with the clicked item
as its input and presses Apply; where a module is not installed, its action is not offered.
"""

import qt
import slicer
from slicer.i18n import tr as _
from SubjectHierarchyPlugins import AbstractScriptedSubjectHierarchyPlugin

FINE_MM = 0.3  # HR-pQCT voxels measure 0.06 to 0.15 mm, those of spine MRI 0.3 mm and more
VIDEO_ATTRIBUTE = "SpineMotionTools.Video"


class SpineMotionToolsSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """Offers the extension's tasks for scans, radiographs and videos; owns no items."""

    filePath = __file__

    def __init__(self, scriptedPlugin):
        scriptedPlugin.name = "SpineMotionTools"
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self._actions = []
        for text, module, suits, start in (
            (_("Grade motion"), "MotionScore", isFineScan, startVolume),
            (_("Read this spine"), "SpineNetModule", isScan, startVolume),
            (_("Find keypoints"), "KeypointModule", isRadiograph, startVolume),
            (_("Score this walk"), "MovementModule", isVideo, startWalk),
            (_("Score this infant's movements"), "MovementModule", isVideo, startInfant),
        ):
            action = qt.QAction(text, scriptedPlugin)
            action.objectName = "SpineMotionTools" + text.title().replace(" ", "").replace("'", "")
            section = slicer.qSlicerSubjectHierarchyAbstractPlugin.SectionNode + 5
            slicer.qSlicerSubjectHierarchyAbstractPlugin.setActionPosition(action, section)
            action.connect("triggered()", lambda *checked, module=module, start=start: start(module, chosenNode()))
            self._actions.append((action, module, suits))

    def canAddNodeToSubjectHierarchy(self, node, parentItemID=None):
        return 0.0

    def canOwnSubjectHierarchyItem(self, itemID):
        return 0.0

    def roleForPlugin(self):
        return "N/A"  # it owns no items

    def helpText(self):
        return _("Right-click a scan, radiograph or video to grade, read or score it.")

    def itemContextMenuActions(self):
        return [action for action, module, suits in self._actions]

    def showContextMenuActionsForItem(self, itemID):
        """Show what suits the item, or the first scan in a folder, of modules that are installed."""
        node = nodeOf(itemID)
        for action, module, suits in self._actions:
            action.visible = node is not None and hasattr(slicer.modules, module.lower()) and suits(node)


def chosenNode():
    return nodeOf(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())


def nodeOf(itemID):
    """The data node of an item; of a case folder its first scan or video; None when there is none."""
    import vtk

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or not itemID:
        return None
    node = hierarchy.GetItemDataNode(itemID)
    if node is not None:
        return node
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(itemID, children)
    nodes = [hierarchy.GetItemDataNode(children.GetId(index)) for index in range(children.GetNumberOfIds())]
    return next((each for each in nodes if each is not None and (isPicture(each) or isVideo(each))), None)


def isPicture(node):
    """A volume of gray values that holds voxels; label maps are results, not inputs."""
    volume = node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode")
    return bool(volume and not node.IsA("vtkMRMLVectorVolumeNode") and node.GetImageData())


def isRadiograph(node):
    return isPicture(node) and 1 in node.GetImageData().GetDimensions()


def isScan(node):
    return isPicture(node) and not isRadiograph(node) and not isFineScan(node)


def isFineScan(node):
    return isPicture(node) and not isRadiograph(node) and max(node.GetSpacing()) < FINE_MM


def isVideo(node):
    return bool(node.IsA("vtkMRMLSequenceNode") and node.GetAttribute(VIDEO_ATTRIBUTE) is not None)


def startVolume(module, node):
    start(module, inputVolume=node)


def startWalk(module, node):
    start(module, inputVideo=node, task="GAIT")


def startInfant(module, node):
    start(module, inputVideo=node, task="MOVEMENTS")


def start(module, **parameters):
    """Open a module, set its parameters (an Enum by its member's name), and press Apply unless it is busy."""
    if any(value is None for value in parameters.values()):
        return
    slicer.util.selectModule(module)
    widget = slicer.util.getModuleWidget(module)
    if widget.jobs.running:
        return
    node = widget.logic.getParameterNode()
    for name, value in parameters.items():
        if isinstance(value, str):
            value = type(getattr(node, name))[value]
        setattr(node, name, value)
    if widget.ui.applyButton.enabled:
        widget.onApplyButton()
