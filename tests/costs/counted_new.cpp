// operator new, counted. In a file of its own, where the compiler does not see into it.

#include <cstdlib>  // for std::malloc
#include <new>      // for std::bad_alloc

#include "counted.hpp"

void* operator new(std::size_t size) {
  ++costs::counts.allocations;
  if (void* const block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
