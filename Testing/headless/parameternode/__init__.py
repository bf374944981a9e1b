"""`slicer.parameterNodeWrapper`: typed fields of a module kept in its MRML parameter node and bound to widgets.

Names, stored form, caching, error types and widget rules follow Slicer's developer guide ("Parameter Nodes"), so that
a scene saved here loads in Slicer and what is refused there is refused here. Not rebuilt: `createGui`, `typing.Any`.
"""

from Testing.headless.parameternode.annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    SingleStep,
    Validator,
    WithinRange,
)
from Testing.headless.parameternode.connectors import GuiConnector, createGuiConnector, parameterNodeGuiConnector
from Testing.headless.parameternode.packs import FloatRange, isParameterPack, nestedParameterNames, parameterPack
from Testing.headless.parameternode.serializers import Serializer, ValidatedSerializer, parameterNodeSerializer
from Testing.headless.parameternode.wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [name for name in globals() if not name.startswith("_") and name not in ("annotations", "packs", "wrapper")]
