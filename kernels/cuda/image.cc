// What nvcc made of group_add.cu, as bytes of the library.
#include "cuda/group_add.hpp"

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".hidden hfr_group_add_fatbin\n"
    ".globl hfr_group_add_fatbin\n"
    "hfr_group_add_fatbin:\n"
    ".incbin \"" HFR_GROUP_ADD_FATBIN
    "\"\n"
    ".popsection\n");

extern "C" const unsigned char hfr_group_add_fatbin[];

namespace hfr {

const void* group_add_image() { return hfr_group_add_fatbin; }

}  // namespace hfr
