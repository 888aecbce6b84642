#include "memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "schedule_point.hpp"

// operator new and delete of this program. A pointer read from freed memory is one that the processor refuses.
namespace explore {
namespace {

constexpr unsigned char freed = 0xdd;

// In front of each block.
struct Header {
  void* start;  // of the memory behind it
  std::size_t size;
  Header* next_freed;
  bool tracked;
  bool is_freed;
};

// Of the threads of an execution one runs at a time. Others allocate only while none runs.
std::atomic<bool> tracking{false};
std::ptrdiff_t live = 0;
Header* freed_blocks = nullptr;

void* allocate(std::size_t size, std::size_t alignment) {
  alignment = std::max(alignment, std::size_t{16});
  const std::size_t room = (sizeof(Header) + alignment - 1) / alignment * alignment;
  void* const start = std::aligned_alloc(alignment, (room + size + alignment - 1) / alignment * alignment);
  if (start == nullptr) throw std::bad_alloc();
  char* const block = static_cast<char*>(start) + room;
  auto* const header =
      ::new (static_cast<void*>(block - sizeof(Header))) Header{start, size, nullptr, tracking.load(), false};
  if (header->tracked) ++live;
  return block;
}

void release(void* block) noexcept {
  if (block == nullptr) return;
  auto* const header = reinterpret_cast<Header*>(static_cast<char*>(block) - sizeof(Header));
  if (!header->tracked) {
    std::free(header->start);
    return;
  }
  if (header->is_freed) fail("memory is freed twice");
  header->is_freed = true;
  --live;
  std::memset(block, freed, header->size);
  header->next_freed = freed_blocks;
  freed_blocks = header;
}

}  // namespace

void begin_tracking() noexcept {
  live = 0;
  tracking.store(true);
}

MemoryReport end_tracking() noexcept {
  tracking.store(false);
  MemoryReport report{live, false};
  while (freed_blocks != nullptr) {
    Header* const header = freed_blocks;
    freed_blocks = header->next_freed;
    const auto* const bytes = reinterpret_cast<const unsigned char*>(header + 1);
    if (std::any_of(bytes, bytes + header->size, [](unsigned char byte) { return byte != freed; })) {
      report.written_after_free = true;
    }
    std::free(header->start);
  }
  return report;
}

Untracked::Untracked() noexcept { tracking.store(false); }
Untracked::~Untracked() { tracking.store(true); }

}  // namespace explore

void* operator new(std::size_t size) { return explore::allocate(size, 16); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return explore::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { explore::release(block); }
void operator delete(void* block, std::size_t) noexcept { explore::release(block); }
void operator delete(void* block, std::align_val_t) noexcept { explore::release(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { explore::release(block); }
