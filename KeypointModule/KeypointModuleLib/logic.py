"""Finds corners in a radiograph node and keeps the sessions of the scene. Usable without the panel."""

from dataclasses import replace

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from KeypointModuleLib.network import Network, Question
from KeypointModuleLib.parameters import Bone, KeypointModuleParameterNode, PatientRight, PixelSize, Slices, Turn
from KeypointModuleLib.session import InteractiveSession
from KeypointModuleLib.texts import OTHER_SIDE

SAMPLE_SEED, SAMPLE_ROWS, SAMPLE_SPREAD = 5, 1000, 0.9
PATIENT_ORIENTATION, VIEW_POSITION = "0020,0020", "0018,5101"
FRONTAL = np.array([[-1, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])  # columns to the left, rows down
NEIGHBORS_SHOWN = 5.0  # vertebral heights that a view shows of a vertebra to check


class KeypointModuleLogic(ScriptedLoadableModuleLogic):
    """From the Python console:

    >>> session = slicer.util.getModuleLogic("KeypointModule").startSession(volumeNode)
    >>> session.correct("T6 upper right", (810.0, 402.5))   # row, column; the others follow
    >>> [(curve.cobb_deg, curve.upper_name, curve.lower_name) for curve in session.reading.curves]
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.onChanged = self.onMoving = self.onMessage = lambda *arguments: None  # the panel puts its own here
        self._network = None
        self._sessions = {}  # volume node id -> InteractiveSession
        self._refused = {}  # volume node id -> why its saved session cannot be resumed

    def getParameterNode(self):
        from SpineMotionToolsGui.binding import readable

        return readable(KeypointModuleParameterNode, super().getParameterNode())

    # -- sessions -------------------------------------------------------------------------------------------------

    def startSession(self, volumeNode, model="keypoints-starter", device="auto", options=None, regionNode=None):
        """Find the 68 corners of a radiograph, wait, and show them; returns the `InteractiveSession`.

        `options`: a `scene.keypoints_picture.PictureOptions` that states what the volume does not, e.g. a slice, its
        side or that it is mirrored. `regionNode`: a markups box around the spine; without one the spine is looked for
        in wide and long pictures. Raises InputError, WeightsError or JobError with a sentence that names the next step.
        """
        from SpineMotionToolsLib.scene.keypoints_picture import PictureOptions, find_picture

        if options is None:
            side, remarks = self._dicomFacts(volumeNode)
            options = PictureOptions(patient_right_on=side, remarks=remarks)
        picture = find_picture(volumeNode, options, regionNode)
        radiograph = picture.radiograph(volumeNode)
        self.useNetwork(model, device)
        if regionNode is None and not radiograph.is_typical:
            box = self._boxAround(volumeNode, picture, Question(self._network, radiograph).wait())
            self.getParameterNode().region = box
            picture = find_picture(volumeNode, options, box)
            radiograph = picture.radiograph(volumeNode)
        answer = Question(self._network, radiograph, [[]]).wait()
        return self._begin(volumeNode, picture, answer)

    def startDetection(self, parameterNode, picture):
        """Start finding the corners of the chosen radiograph; returns the question, which `JobControls` runs."""
        self.useNetwork(parameterNode.model, parameterNode.device.value)
        return Question(self._network, picture.radiograph(parameterNode.inputVolume), [[]])

    def needsSearch(self, parameterNode, picture):
        """Whether the spine is to be looked for first: no region is chosen, and the picture is wide or long."""
        return self.regionOf(parameterNode) is None and not picture.radiograph(parameterNode.inputVolume).is_typical

    def startSearch(self, parameterNode, picture):
        """Start looking for the part of a whole picture that shows the spine; returns the question."""
        self.useNetwork(parameterNode.model, parameterNode.device.value)
        return Question(self._network, replace(picture, region=None).radiograph(parameterNode.inputVolume))

    def finishSearch(self, parameterNode, picture, answer):
        """Choose a new box around the part that was found as the region."""
        parameterNode.region = self._boxAround(parameterNode.inputVolume, picture, answer)

    def _boxAround(self, volumeNode, picture, answer):
        from SpineMotionToolsLib.scene.keypoints_picture import add_region_box

        return add_region_box(slicer.mrmlScene, volumeNode, picture, tuple(answer["region"]))

    @staticmethod
    def regionOf(parameterNode):
        """The chosen box around the spine; None also for a box that was found in another radiograph."""
        from SpineMotionToolsLib.scene import nodes

        box = parameterNode.region
        found_in = nodes.scan_of(box) if box is not None else None
        return box if found_in in (None, parameterNode.inputVolume) else None

    def finishDetection(self, volumeNode, picture, answer):
        """Put what the network found into the scene; returns the `InteractiveSession`."""
        return self._begin(volumeNode, picture, answer)

    def useNetwork(self, model, device="auto"):
        """Corrections of all sessions go to this network from now on; the one before is unloaded."""
        if self._network is None or (self._network.model, self._network.device) != (model, device):
            if self._network is not None:
                self._network.close()
            self._network = Network(model, device)
            for session in self._sessions.values():
                session.network = self._network

    def sessionOf(self, volumeNode):
        """The session of a radiograph: running, or resumed from the scene; None when it has none."""
        if volumeNode is None:
            return None
        volumeID = volumeNode.GetID()
        session = self._sessions.get(volumeID)
        if session is not None and session.closed:
            session = self._sessions.pop(volumeID) and None
        if session is None and volumeID not in self._refused:
            session = self._resume(volumeNode)
        return session

    def refusalOf(self, volumeNode):
        """Why the session saved with a radiograph cannot be resumed; "" when there is nothing to say."""
        return self._refused.get(volumeNode.GetID(), "") if volumeNode is not None else ""

    def closeSessions(self):
        """End all sessions and the network; nodes stay."""
        for session in self._sessions.values():
            session.close()
        self._sessions, self._refused = {}, {}
        if self._network is not None and self._network.busy:
            self._network.close()

    def close(self):
        """End everything that runs, the loaded network too."""
        self.closeSessions()
        if self._network is not None:
            self._network.close()
            self._network = None

    def _begin(self, volumeNode, picture, answer):
        from SpineMotionToolsLib.scene.keypoints import KeypointNodes
        from SpineMotionToolsLib.scene.keypoints_picture import keep_file_facts

        keep_file_facts(volumeNode, *self._dicomFacts(volumeNode))
        previous = self._sessions.pop(volumeNode.GetID(), None)
        if previous is not None:
            previous.close()
        nodes = KeypointNodes.find(slicer.mrmlScene, volumeNode) or KeypointNodes.create(slicer.mrmlScene, volumeNode)
        self._refused.pop(volumeNode.GetID(), None)
        session = self._sessionWith(nodes, picture)
        self._sessions[volumeNode.GetID()] = session
        session.begin(answer)
        return session

    def _resume(self, volumeNode):
        from SpineMotionToolsLib.common.errors import SpineMotionError
        from SpineMotionToolsLib.scene.keypoints import KeypointNodes

        nodes = KeypointNodes.find(slicer.mrmlScene, volumeNode)
        if nodes is None:
            return None
        try:
            picture, history = nodes.stored()
            session = self._sessionWith(nodes, picture)
            self._sessions[volumeNode.GetID()] = session
            session.resume(history)
        except SpineMotionError as error:
            self._sessions.pop(volumeNode.GetID(), None)
            self._refused[volumeNode.GetID()] = str(error)
            return None
        return session

    def _sessionWith(self, nodes, picture):
        if self._network is None:
            node = self.getParameterNode()
            self.useNetwork(node.model, node.device.value)
        return InteractiveSession(
            nodes,
            picture,
            self._network,
            onChanged=lambda: self.onChanged(),
            onMoving=lambda reading: self.onMoving(reading),
            onMessage=lambda text, failed: self.onMessage(text, failed),
        )

    # -- the picture ----------------------------------------------------------------------------------------------

    def pictureOf(self, parameterNode):
        """The chosen picture as the user described it; raises InputError when the volume holds none."""
        from SpineMotionToolsLib.keypoints.inputs import HEAD_DOWN
        from SpineMotionToolsLib.scene.keypoints_picture import PictureOptions, find_picture

        node, side = parameterNode, parameterNode.patientRight.value
        mirrored, upsideDown = node.turn in (Turn.MIRRORED, Turn.BOTH), node.turn in (Turn.UPSIDE_DOWN, Turn.BOTH)
        sideInFile, remarks = self._dicomFacts(node.inputVolume)
        if upsideDown:
            remarks = tuple(remark for remark in remarks if remark != HEAD_DOWN)
        if node.patientRight == PatientRight.AUTO:
            side = sideInFile
            if mirrored != upsideDown:
                side = OTHER_SIDE.get(side)
        options = PictureOptions(
            frames=node.slices == Slices.FRAMES,
            slice_index=node.sliceIndex if node.sliceIndex >= 0 else None,
            mirrored=mirrored,
            upside_down=upsideDown,
            inverted={Bone.BRIGHT: False, Bone.DARK: True}.get(node.bone),
            pixel_size_known={PixelSize.KNOWN: True, PixelSize.UNKNOWN: False}.get(node.pixelSize),
            patient_right_on=side,
            remarks=remarks,
        )
        return find_picture(node.inputVolume, options, self.regionOf(node))

    def _dicomFacts(self, volumeNode):
        """(side the patient's right is on or None, remarks) by the DICOM file a volume came from."""
        from SpineMotionToolsLib.keypoints.inputs import HEAD_DOWN, LATERAL_FILE
        from SpineMotionToolsLib.scene.keypoints_picture import FILE_REMARKS, PATIENT_RIGHT
        from SpineMotionToolsLib.scene.nodes import attribute

        if volumeNode is None:
            return None, ()
        kept, remarks = attribute(volumeNode, PATIENT_RIGHT), attribute(volumeNode, FILE_REMARKS, ())
        database = getattr(slicer, "dicomDatabase", None)
        instances = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
        if database is None or not instances:
            return kept, tuple(remarks)
        orientation = (database.instanceValue(instances[0], PATIENT_ORIENTATION) or "").upper()
        position = (database.instanceValue(instances[0], VIEW_POSITION) or "").upper()
        lateral = any(word in position for word in ("LL", "RL", "LATERAL")) or orientation.startswith(("A", "P"))
        said = {LATERAL_FILE: lateral, HEAD_DOWN: orientation.partition("\\")[2].startswith("H")}
        remarks = dict.fromkeys((*remarks, *(remark for remark, holds in said.items() if holds)))
        return {"L": "left", "R": "right"}.get(orientation[:1], kept), tuple(remarks)

    # -- slice views ----------------------------------------------------------------------------------------------

    def showParts(self, parameterNode):
        """Corners, names, angles and uncertainty are seen as the user chose."""
        session = self.sessionOf(parameterNode.inputVolume)
        if session is None:
            return
        node = parameterNode
        session.nodes.show_parts(node.showCorners, node.showLevels, node.showCornerNames, node.showAngles)
        if session.showUncertainty != node.showUncertainty:
            session.showUncertainty = node.showUncertainty
            session.redraw()

    def showRadiograph(self, volumeNode, picture):
        """The radiograph alone in one large slice view, upright, all of it."""
        from SpineMotionToolsLib.scene import keypoints

        name = keypoints.view_of(picture, volumeNode)
        layoutManager, layouts = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
        if layoutManager is not None:
            layoutManager.setLayout(getattr(layouts, f"SlicerLayoutOneUp{name}SliceView"))
        slicer.util.setSliceViewerLayers(background=volumeNode, foreground=None, label=None)
        self.turnUpright(volumeNode, picture)

    def turnUpright(self, volumeNode, picture):
        """Turn the picture's slice view so that it is upright, and fit it; leave it alone when the volume is gone."""
        from SpineMotionToolsLib.scene import keypoints

        if slicer.mrmlScene.IsNodePresent(volumeNode):
            sliceNode = slicer.mrmlScene.GetSingletonNode(keypoints.view_of(picture, volumeNode), "vtkMRMLSliceNode")
            if sliceNode is not None:
                keypoints.show_upright(sliceNode, picture, volumeNode)

    def showSlice(self, volumeNode, picture):
        """Move the slice views to the slice of a volume that is read."""
        from SpineMotionToolsLib.scene import nodes

        ijk = [0.0, 0.0, 0.0]
        for axis, length in zip(picture.axes, (*picture.size, None)):
            ijk[axis] = picture.index if length is None else (length - 1) / 2
        nodes.jump_to_voxel(slicer.mrmlScene, volumeNode, ijk)

    def jumpToVertebra(self, session, level):
        """Center the slice views on a vertebra and zoom in on it."""
        quad = session.reading.points_px[4 * level : 4 * level + 4]
        height = NEIGHBORS_SHOWN * float(np.linalg.norm(quad[[2, 3]] - quad[[0, 1]], axis=1).mean())
        self._showPlace(session, quad.mean(axis=0), height)

    def jumpToCurve(self, session, row):
        """Show a whole curve, by its row in the table."""
        curve = session.reading.curves[row]
        points = session.reading.points_px[4 * curve.upper : 4 * curve.lower + 4]
        self._showPlace(session, (points.min(axis=0) + points.max(axis=0)) / 2, 1.2 * float(np.ptp(points[:, 0])), True)

    def _showPlace(self, session, place, height, zoomOut=False):
        from SpineMotionToolsLib.scene import keypoints

        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            keypoints.show_place(sliceNode, session.picture, session.nodes.volume, place, height, zoomOut)

    # -- files ----------------------------------------------------------------------------------------------------

    def exportFiles(self, session, folder):
        """Write tables (CSV), JSON, markups (.mrk.json), picture, report and history; returns the file names."""
        from pathlib import Path

        from SpineMotionToolsLib.common.files import write_json
        from SpineMotionToolsLib.keypoints.exports import write_reading

        paths = write_reading(session.reading, session.radiograph.image, Path(folder), session.session.to_json())
        markups = next(path for path in paths if path.name.endswith(".mrk.json"))
        write_json(markups, session.nodes.markups_json(session.reading, session.picture))
        return [path.name for path in paths]

    def exportReport(self, session, path):
        """Write one HTML file with the picture, the curves, all vertebrae and how they were found."""
        from SpineMotionToolsLib.keypoints.report import make_report

        make_report(session.reading, session.radiograph.image).write(path)

    def exportDicom(self, session, folder):
        """Write the curves as a DICOM report and list it in Slicer's DICOM database; returns the file names.

        Raises InputError when the radiograph was not loaded from DICOM.
        """
        from pathlib import Path

        from SpineMotionToolsGui import dicom
        from SpineMotionToolsLib.keypoints.dicom import write_dicom
        from SpineMotionToolsLib.scene.keypoints_dicom import dicom_place

        reading, volume = session.reading, session.nodes.volume
        source = dicom.sourceOf(volume)
        frame, pixels = dicom_place(session.picture, volume, source, reading.points_px)
        reviewer = dicom.reviewerName() if reading.accepted or reading.given or reading.locked else None
        path = Path(folder) / f"keypoints-{source.file_tag}-report.dcm"
        write_dicom(reading, source, path, reviewer, frame, pixels)
        dicom.addToDatabase([path])
        return [path.name]

    @staticmethod
    def makeSampleRadiograph():
        """A simulated radiograph of a scoliotic spine as a volume node; made here, nothing is downloaded."""
        from SpineMotionToolsLib.phantoms.radiograph import radiograph_phantom
        from SpineMotionToolsLib.phantoms.spine_shape import load_model

        shape = load_model().sample(np.random.default_rng(SAMPLE_SEED), SAMPLE_SPREAD)
        size = (SAMPLE_ROWS, round(SAMPLE_ROWS * shape.aspect))
        phantom = radiograph_phantom(shape, SAMPLE_SEED, size, implants=False)
        row, column = phantom.pixel_spacing_mm
        node = slicer.util.addVolumeFromArray(
            phantom.image[np.newaxis],
            ijkToRAS=FRONTAL @ np.diag([column, row, 1.0, 1.0]),
            name="SpineRadiographPhantom",
        )
        node.CreateDefaultDisplayNodes()
        return node
