"""A view layout for videos: the axial view, in which they are upright, above the plot of their scores."""

LAYOUT = 5190  # Slicer's own numbers end at 100; extensions choose higher ones
DESCRIPTION = """
<layout type="vertical" split="true">
 <item splitSize="650">
  <view class="vtkMRMLSliceNode" singletontag="Red">
   <property name="orientation" action="default">Axial</property>
   <property name="viewlabel" action="default">R</property>
   <property name="viewcolor" action="default">#F34A33</property>
  </view>
 </item>
 <item splitSize="350">
  <view class="vtkMRMLPlotViewNode" singletontag="PlotView1">
   <property name="viewlabel" action="default">P</property>
  </view>
 </item>
</layout>
"""


def register(layout_node) -> None:
    """Make the layout known to the application's layout node."""
    if not layout_node.IsLayoutDescription(LAYOUT):
        layout_node.AddLayoutDescription(LAYOUT, DESCRIPTION)


def turn_axial(scene) -> None:
    """Turn the red view to the axial plane, in which videos are upright, whatever another module did to it."""
    red = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    if red is not None and red.GetOrientation() != "Axial":
        red.SetOrientation("Axial")
