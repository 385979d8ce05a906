// Every cpu/kernels/<op>.cpp is compiled once per instruction set, and MESM_ISA names its
// namespace.
//
// Such a file may run only where its instructions exist, but the linker keeps one copy of an inline
// function or template for the whole library. So these files define nothing with external linkage
// except their kernel table, put all else in an anonymous namespace, and include no C++ header.
// Intrinsics headers are allowed: their functions are always inlined.
#pragma once

#ifndef MESM_ISA
#error "compile cpu/kernels/*.cpp with -DMESM_ISA=portable, avx2, avx512 or avx512bf16"
#endif
