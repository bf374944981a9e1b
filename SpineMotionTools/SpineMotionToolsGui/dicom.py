"""DICOM results in Slicer: the files a volume was loaded from, who reviews, and the database that gets the results."""

import os

import slicer
from slicer.i18n import tr as _


def sourceOf(volumeNode):
    """The DICOM images that a volume node was loaded from, as a `DicomSource`.

    Raises InputError with the next step when it was loaded from other files, or when these are gone.
    """
    from SpineMotionToolsLib.common.dicom_source import read_source
    from SpineMotionToolsLib.common.errors import InputError

    instances = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not instances:
        raise InputError(
            _(
                "{name} was not loaded from DICOM, so there is no study that DICOM results could join. Import its "
                "DICOM files in the DICOM module, load the series from there and read it again, or export the other "
                "formats."
            ).format(name=volumeNode.GetName())
        )
    database = _database()
    files = [database.fileForInstance(instance) for instance in instances] if database else []
    if not files or not all(file and os.path.isfile(file) for file in files):
        raise InputError(
            _("The DICOM files of {name} are no longer in the DICOM database. Import them again.").format(
                name=volumeNode.GetName()
            )
        )
    return read_source(files)


def reviewerName():
    """The user's name as set in Edit > Application Settings > User; "" when it is not."""
    information = slicer.app.applicationLogic().GetUserInformation()
    return (information.GetName() or "") if information is not None else ""


def addToDatabase(paths):
    """List written files in Slicer's DICOM database, where they are; returns False when there is none."""
    database = _database()
    if database is None:
        return False
    import ctk

    indexer = ctk.ctkDICOMIndexer()
    for path in paths:
        indexer.addFile(database, str(path))
    return True


def _database():
    """Slicer's DICOM database, or None: it may be switched off, closed or not built."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None
