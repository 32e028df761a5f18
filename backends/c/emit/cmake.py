"""The CMakeLists.txt of a compiled model."""

from __future__ import annotations

from collections.abc import Mapping

from irc.backends.c.compilers import COMMON_FLAGS, GCC_FLAGS


def cmake_source(name: str, objects: Mapping[str, tuple[str, ...]], *, binary: bool) -> str:
    """A library `irc_<name>`, static or with BUILD_SHARED_LIBS shared, each file with the flags it needs."""
    special = "\n".join(
        f'set_source_files_properties({path} PROPERTIES COMPILE_OPTIONS "{";".join(flags)}")'
        for path, flags in objects.items()
        if flags
    )
    return f"""cmake_minimum_required(VERSION 3.16)
project(irc_{name} C)

add_library(irc_{name} {" ".join(objects)})
target_include_directories(irc_{name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
set_target_properties(irc_{name} PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
target_compile_options(irc_{name} PRIVATE {" ".join(COMMON_FLAGS)})
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(irc_{name} PRIVATE {" ".join(GCC_FLAGS)})
endif()
{special}
set_source_files_properties({name}_constants.c PROPERTIES
    COMPILE_DEFINITIONS "IRC_CONSTANTS_FILE=\\"${{CMAKE_CURRENT_SOURCE_DIR}}/{name}_constants.bin\\""
    OBJECT_DEPENDS "${{CMAKE_CURRENT_SOURCE_DIR}}/{name}_constants.{"bin" if binary else "c"}")
find_package(Threads REQUIRED)
target_link_libraries(irc_{name} PUBLIC Threads::Threads)
if(UNIX)
    target_link_libraries(irc_{name} PUBLIC m)
endif()
"""
