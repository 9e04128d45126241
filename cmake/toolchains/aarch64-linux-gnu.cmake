# Builds for 64-bit ARM with Debian's cross compiler (g++-aarch64-linux-gnu), and runs the tests in QEMU's emulation of
# one program (qemu-user-static): cmake --preset arm64

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Libraries and headers of the target only; programs of this machine.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

find_program(moeq_emulator NAMES qemu-aarch64-static qemu-aarch64)
if(moeq_emulator)
    # A processor of the first generation, so that nothing newer is used unseen. 64 GiB of addresses, because a test
    # that asks for terabytes is to be refused: the emulator would grant them and need all memory for its own books.
    set(CMAKE_CROSSCOMPILING_EMULATOR "${moeq_emulator};-cpu;cortex-a53;-R;64G;-L;/usr/aarch64-linux-gnu")
endif()
