"""A case of a batch opened: its image in the views, and chosen in its module, which shows the result as its own."""

import slicer

MODULES = {
    "motion": "MotionScore",
    "spine": "SpineNetModule",
    "keypoints": "KeypointModule",
    "gait": "MovementModule",
    "movements": "MovementModule",
}


def openCase(task, path):
    """Load the scene of a case, beside what is open; `task` is the batch's. Returns the case's scan or video node."""
    before = {node.GetID() for node in _images()}
    slicer.util.loadScene(path)
    image = next((node for node in _images() if node.GetID() not in before), None)
    if image is not None:
        _show(image)
        _choose(MODULES[task], task, image)
    return image


def _images():
    """Scans and videos; label maps and colored pictures are other classes."""
    return [
        node
        for name in ("vtkMRMLScalarVolumeNode", "vtkMRMLSequenceNode")
        for node in slicer.util.getNodesByClass(name)
        if node.GetClassName() == name
    ]


def _show(image):
    from SpineMotionToolsLib.scene.video import scene_video
    from SpineMotionToolsLib.scene.video_layout import turn_axial

    if image.IsA("vtkMRMLSequenceNode"):
        video = scene_video(slicer.mrmlScene, image)
        if video is None:
            return
        turn_axial(slicer.mrmlScene)
        image = video.volume
    slicer.util.setSliceViewerLayers(background=image, fit=True)


def _choose(module, task, image):
    if not hasattr(slicer.modules, module.lower()):
        return
    node = slicer.util.getModuleLogic(module).getParameterNode()
    if image.IsA("vtkMRMLSequenceNode"):
        node.task = type(node.task)(task)
        node.inputVideo = image
    else:
        node.inputVolume = image
