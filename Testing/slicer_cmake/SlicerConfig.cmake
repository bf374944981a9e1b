# Stands in for a Slicer build tree: our CMakeLists.txt files configure against it in a second, and it stops the
# configuration at what Slicer's own functions refuse, and at files that are present but would not be packaged.
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
set(Slicer_FOUND TRUE)
