# Decides whether the CUDA kernels are built, and with which nvcc, for which GPUs.
# Sets with_cuda, CMAKE_CUDA_ARCHITECTURES and cuda_architectures, in which no GPU is
# "native" any more, and enables the language.

set(off_hint "Or leave the CUDA kernels out with JAX_FUSED_SSIM_CUDA=OFF, set in the \
environment or by `-C cmake.define.JAX_FUSED_SSIM_CUDA=OFF`.")

execute_process(
  COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/find_nvcc.py"
          "${JAX_FUSED_SSIM_CUDA}" "${CMAKE_CUDA_COMPILER}"
  OUTPUT_VARIABLE found COMMAND_ERROR_IS_FATAL ANY)
foreach(field option named nvcc wheels missing)
  string(JSON ${field} GET "${found}" ${field})
endforeach()
if(NOT option MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "JAX_FUSED_SSIM_CUDA is '${option}'; set it to AUTO, ON or OFF.")
endif()

set(with_cuda OFF)
if(option STREQUAL "OFF")
  message(STATUS "CUDA kernels: left out (JAX_FUSED_SSIM_CUDA=OFF)")
  return()
endif()

# ---- nvcc ----------------------------------------------------------------------------

if(NOT nvcc)
  if(named)
    message(FATAL_ERROR
      "There is no '${named}', which CMAKE_CUDA_COMPILER or CUDACXX names as nvcc. "
      "Correct or unset it. ${off_hint}")
  endif()
  if(option STREQUAL "ON")
    message(FATAL_ERROR
      "JAX_FUSED_SSIM_CUDA=ON, and no nvcc was found. `pip install .` fetches one from "
      "PyPI; without build isolation, install a CUDA toolkit and put nvcc on PATH or set "
      "CUDACXX or CUDA_HOME. ${off_hint}")
  endif()
  if(missing)
    message(WARNING
      "CUDA kernels: left out. There is an NVIDIA driver and no nvcc; `pip install .` "
      "fetches one from PyPI, and nobody does without build isolation.")
  else()
    message(STATUS "CUDA kernels: left out, there is neither nvcc nor an NVIDIA driver. "
                   "JAX_FUSED_SSIM_CUDA=ON fetches an nvcc from PyPI.")
  endif()
  return()
endif()
if(wheels)
  message(STATUS "CUDA kernels: this machine has no nvcc, PyPI's is used")
  set(CUDAToolkit_ROOT "${wheels}")
  # FindCUDAToolkit wants to see a libcudart, which we do not link, under its plain name.
  file(GLOB CUDA_CUDART "${wheels}/lib/libcudart.so.*")
  # nvcc looks in lib64, the wheels have lib.
  string(APPEND CMAKE_CUDA_FLAGS " \"-L${wheels}/lib\"")
endif()

execute_process(COMMAND "${nvcc}" --version
                OUTPUT_VARIABLE nvcc_version RESULT_VARIABLE nvcc_status
                ERROR_VARIABLE nvcc_errors)
if(NOT nvcc_status EQUAL 0 OR NOT nvcc_version MATCHES "release ([0-9]+\\.[0-9]+)")
  message(FATAL_ERROR
    "${nvcc} does not run as nvcc (${nvcc_status}):\n${nvcc_version}${nvcc_errors}\n"
    "Install the CUDA toolkit again, or set CUDACXX to a working nvcc. ${off_hint}")
endif()
set(nvcc_version ${CMAKE_MATCH_1})
if(nvcc_version VERSION_LESS 12.0)
  message(FATAL_ERROR
    "${nvcc} is CUDA ${nvcc_version}; 12.0 or newer is needed. Install a newer toolkit "
    "and set CUDACXX to its nvcc. ${off_hint}")
endif()

# ---- Architectures -------------------------------------------------------------------

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND "$ENV{CUDAARCHS}" STREQUAL "")
  execute_process(COMMAND "${nvcc}" --list-gpu-arch OUTPUT_VARIABLE known
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[0-9]+" known "${known}")
  set(CMAKE_CUDA_ARCHITECTURES)
  # Not 89: it runs what is built for 86, and nvcc makes the same machine code for both.
  foreach(architecture 75 80 86 90 100 120)
    if(architecture IN_LIST known)
      list(APPEND CMAKE_CUDA_ARCHITECTURES ${architecture}-real)
    else()
      message(STATUS "CUDA ${nvcc_version} cannot build for sm_${architecture}: left out")
    endif()
  endforeach()
  # The last one as PTX too, for GPUs to come.
  list(POP_BACK CMAKE_CUDA_ARCHITECTURES newest)
  string(REPLACE "-real" "" newest "${newest}")
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest})
endif()

# ---- Does it compile? ----------------------------------------------------------------

# One host compiler for everything, unless told otherwise.
if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER AND "$ENV{CUDAHOSTCXX}" STREQUAL "")
  set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
endif()
set(host_compiler "${CMAKE_CUDA_HOST_COMPILER}")
if(NOT host_compiler)
  set(host_compiler "$ENV{CUDAHOSTCXX}")
endif()

# CMake tries the compiler too, and says less about what is wrong.
set(probe "${CMAKE_CURRENT_BINARY_DIR}/nvcc_probe.cu")
file(WRITE "${probe}" "#include <cuda_bf16.h>\n#include <cuda_runtime.h>\n"
                      "__global__ void probe(__nv_bfloat16*) {}\n")
execute_process(
  COMMAND "${nvcc}" -std=c++17 -ccbin "${host_compiler}" -c "${probe}" -o "${probe}.o"
  RESULT_VARIABLE nvcc_status OUTPUT_VARIABLE nvcc_output ERROR_VARIABLE nvcc_output)
if(NOT nvcc_status EQUAL 0)
  message(FATAL_ERROR
    "${nvcc} (CUDA ${nvcc_version}) with the host compiler ${host_compiler} cannot "
    "compile an empty kernel:\n${nvcc_output}\nInstall the missing part of the toolkit, "
    "or set CUDAHOSTCXX to a C++ compiler that CUDA ${nvcc_version} supports, or CUDACXX "
    "to another nvcc. ${off_hint}")
endif()

set(CMAKE_CUDA_COMPILER "${nvcc}")
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
find_package(CUDAToolkit)
if(NOT TARGET CUDA::cudart_static)
  message(FATAL_ERROR
    "The CUDA toolkit of ${nvcc} has no cudart_static library. Install the rest of the "
    "toolkit, or set CUDAToolkit_ROOT to a complete one. ${off_hint}")
endif()
set(with_cuda ON)
set(cuda_architectures "${CMAKE_CUDA_ARCHITECTURES}")
if(cuda_architectures STREQUAL "native" AND CMAKE_CUDA_ARCHITECTURES_NATIVE)
  set(cuda_architectures "${CMAKE_CUDA_ARCHITECTURES_NATIVE}")
endif()
message(STATUS "CUDA kernels: CUDA ${nvcc_version} (${nvcc}) for ${cuda_architectures}")
