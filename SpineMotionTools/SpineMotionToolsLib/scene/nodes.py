"""What every system's scene code shares: volumes in, tables, folders and provenance out, slices to a place.

All functions take nodes or the scene; none touches the application, so the same code runs in Slicer, in a script and
in tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.provenance import Provenance
    from SpineMotionToolsLib.common.tables import Table
    from SpineMotionToolsLib.common.volumes import Volume

ATTRIBUTE_PREFIX = "SpineMotionTools."
SCAN_REFERENCE = "SpineMotionTools.Scan"


def matrix_of(vtk_matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A vtkMatrix4x4 as a (4, 4) float64 array."""
    return np.array([[vtk_matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def vtk_matrix_of(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """A (4, 4) array as a vtkMatrix4x4."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy([float(value) for value in np.asarray(matrix, dtype=np.float64).ravel()])
    return result


def ijk_to_ras(volume_node) -> np.ndarray:
    """The volume's own (4, 4) IJK-to-RAS matrix in mm; a parent transform is not included."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return matrix_of(matrix)


def to_world(node, points_ras: np.ndarray) -> np.ndarray:
    """(N, 3) points in the node's own RAS mm as world RAS mm, through its parent transform (also a nonlinear one)."""
    return _transformed(node.GetParentTransformNode(), None, points_ras)


def from_world(node, points_ras: np.ndarray) -> np.ndarray:
    """(N, 3) points in world RAS mm in the node's own RAS mm."""
    return _transformed(None, node.GetParentTransformNode(), points_ras)


def _transformed(source, target, points_ras: np.ndarray) -> np.ndarray:
    import slicer

    points = np.asarray(points_ras, dtype=np.float64).reshape(-1, 3)
    if source is None and target is None:
        return points.copy()
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return np.array([transform.TransformPoint(*point) for point in points]).reshape(-1, 3)


def array_of(volume_node) -> np.ndarray:
    """The voxels as a (k, j, i) view; changing it changes the node."""
    image = volume_node.GetImageData()
    scalars = image.GetPointData().GetScalars()
    columns, rows, slices = image.GetDimensions()
    return vtk_to_numpy(scalars).reshape(slices, rows, columns, -1).squeeze(axis=-1)


def image_of(volume_node):
    """The image data of a volume; raises InputError when there is none, and for label maps and segmentations."""
    from SpineMotionToolsLib.common.errors import InputError

    if volume_node is not None and (
        not volume_node.IsA("vtkMRMLVolumeNode") or volume_node.IsA("vtkMRMLLabelMapVolumeNode")
    ):
        raise InputError(f"{volume_node.GetName()} holds labels or other data, no image. Choose the image itself.")
    image = volume_node.GetImageData() if volume_node is not None else None
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError("The chosen volume holds no image. Load one, or choose another volume.")
    return image


def follows_sequence(node) -> bool:
    """Whether a node shows one item of a sequence at a time, such as a frame of a 4-D series."""
    scene = node.GetScene()
    count = scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") if scene is not None else 0
    browsers = [scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode") for index in range(count)]
    return any(browser.GetSequenceNode(node) is not None for browser in browsers)


def volume_of(volume_node) -> Volume:
    """A scalar volume node as a `Volume` (a view of its voxels, its own RAS geometry).

    Raises InputError when the node is empty or holds labels or colors.
    """
    from SpineMotionToolsLib.common.errors import InputError
    from SpineMotionToolsLib.common.volumes import Volume

    image = image_of(volume_node)
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError("The chosen volume is a color image. Choose a gray-value scan.")
    return Volume(array_of(volume_node), ijk_to_ras(volume_node), name=volume_node.GetName() or "")


def set_volume(volume_node, array: np.ndarray, matrix: np.ndarray) -> None:
    """Give the node a copy of the (k, j, i) voxels and the (4, 4) IJK-to-RAS matrix."""
    array = np.ascontiguousarray(array)
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    volume_node.SetIJKToRASMatrix(vtk_matrix_of(matrix))
    volume_node.SetAndObserveImageData(image)


def ensure(scene, class_name: str, name: str, existing=None):
    """The existing node when it is still in the scene, else a new one of this class and name."""
    if existing is not None and scene.IsNodePresent(existing):
        return existing
    return scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name))


def fill_table(table_node, table: Table) -> None:
    """Write a `Table` into a table node, with units and descriptions; a column with empty cells is stored as text."""
    was_modifying = table_node.StartModify()
    try:
        table_node.RemoveAllColumns()
        for index, column in enumerate(table.columns):
            values = ["" if row[index] is None else row[index] for row in table.rows]
            types = {type(value) for value in values}
            if values and types <= {bool, int}:
                array = vtk.vtkIntArray()
            elif values and types <= {bool, int, float}:
                array = vtk.vtkDoubleArray()
            else:
                array = vtk.vtkStringArray()
            array.SetName(column.name)
            for value in values:
                array.InsertNextValue(str(value) if isinstance(array, vtk.vtkStringArray) else value)
            table_node.AddColumn(array)
            table_node.SetColumnTitle(column.name, column.heading)
            if column.unit:
                table_node.SetColumnUnitLabel(column.name, column.unit)
            if column.description:
                table_node.SetColumnDescription(column.name, column.description)
        table_node.SetUseColumnTitleAsColumnHeader(True)
        table_node.SetLocked(True)
    finally:
        table_node.EndModify(was_modifying)


def set_provenance(node, provenance: Provenance) -> None:
    """Keep what made a result on its node, so that a saved scene explains itself."""
    node.SetAttribute(ATTRIBUTE_PREFIX + "Provenance", json.dumps(provenance.to_json(), sort_keys=True))


def set_attribute(node, name: str, value: Any) -> None:
    """A JSON value as a node attribute of ours (saved with the scene)."""
    node.SetAttribute(ATTRIBUTE_PREFIX + name, json.dumps(value))


def attribute(node, name: str, default: Any = None) -> Any:
    """Read back what `set_attribute` wrote; `default` when absent or not ours."""
    text = node.GetAttribute(ATTRIBUTE_PREFIX + name)
    try:
        return default if text is None else json.loads(text)
    except ValueError:
        return default


def mark_result(node, scan_node, role: str) -> None:
    """Note of which scan a node is a result, and what it is of it ("motion table", say); saved with the scene."""
    node.SetNodeReferenceID(SCAN_REFERENCE, scan_node.GetID())
    set_attribute(node, "Role", role)


def scan_of(node):
    """The scan that a result node belongs to; None when it is gone."""
    return node.GetNodeReference(SCAN_REFERENCE) if node is not None else None


def has_text_of(text_node, scan_node) -> bool:
    """Whether a text node is of this scan and holds something, readable or not."""
    return scan_node is not None and scan_of(text_node) is scan_node and bool(text_node.GetText())


def kept_in(text_node, from_json: Callable[[Any], Any]) -> Any:
    """What `from_json` makes of the JSON in a text node; None when the node is empty or holds something else."""
    try:
        return from_json(json.loads(text_node.GetText()))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def results_of(scene, scan_node) -> dict[str, Any]:
    """The newest result nodes of a scan by role, also those of a scene that was loaded."""
    found = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        role = attribute(node, "Role")
        if role is not None and scan_of(node) is scan_node:
            found[role] = node
    return found


def put_in_case_folder(scene, source_node, nodes: Iterable) -> int:
    """Place result nodes in one subject-hierarchy folder beside the source; returns the folder's item id.

    A source that already lies in a study or folder keeps its place, and the results join it there.
    """
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return 0
    root = hierarchy.GetSceneItemID()

    def item_of(node):
        return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(root, node)

    source_item = item_of(source_node)
    folder = hierarchy.GetItemParent(source_item)
    if not folder or folder == root:
        folder = hierarchy.CreateFolderItem(root, source_node.GetName() or "Case")
        hierarchy.SetItemParent(source_item, folder)
    for node in nodes:
        hierarchy.SetItemParent(item_of(node), folder)
    return folder


def jump_to_voxel(scene, volume_node, ijk: tuple[float, float, float]) -> None:
    """Center all slice views on a voxel of the volume."""
    import slicer

    ras = (ijk_to_ras(volume_node) @ np.array([*ijk, 1.0]))[:3]
    r, a, s = to_world(volume_node, ras)[0]
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, r, a, s, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def show_in_slice_views(scene, background=None, foreground=None, opacity: float | None = None) -> None:
    """Show volumes in all slice views; an argument left at None leaves that layer alone."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        if background is not None:
            composite.SetBackgroundVolumeID(background.GetID())
        if foreground is not None:
            composite.SetForegroundVolumeID(foreground.GetID())
        if opacity is not None:
            composite.SetForegroundOpacity(opacity)


def set_foreground_opacity(scene, foreground, opacity: float) -> None:
    """Opacity of a volume in the slice views that show it in the foreground."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        if composite.GetForegroundVolumeID() == foreground.GetID() and composite.GetForegroundOpacity() != opacity:
            composite.SetForegroundOpacity(opacity)
