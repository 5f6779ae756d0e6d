# semblance._cuda: a module of its own, so that the CPU package never needs it.
file(GLOB cuda_bind_sources CONFIGURE_DEPENDS bind/cuda_*.cpp)
pybind11_add_module(_cuda MODULE NO_EXTRAS ${cuda_bind_sources} bind/arrays.cpp bind/errors.cpp)
target_compile_options(_cuda PRIVATE ${SEMBLANCE_BASELINE})
target_link_libraries(_cuda PRIVATE semblance_cuda semblance_engine)
if(SEMBLANCE_CUDA STREQUAL "EMULATED")  # never beside the package: tests load it from the build folder
  set_target_properties(_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/emulated)
elseif(SKBUILD)
  install(TARGETS _cuda LIBRARY DESTINATION semblance)
else()
  set_target_properties(_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_SOURCE_DIR}/python/semblance)
endif()
