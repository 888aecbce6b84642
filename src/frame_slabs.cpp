#include "frame_slabs.hpp"

#include <algorithm>   // for std::upper_bound
#include <functional>  // for std::less
#include <new>         // for placement new

#if defined(__linux__)
#include <sys/mman.h>  // for mmap, madvise
#endif

namespace cohort::detail {
namespace {

#if defined(__linux__)

// Memory that begins at a multiple of its size; null when there is none.
void* map_aligned(std::size_t size) noexcept {
  void* const mapped =
      ::mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapped);
  const std::size_t before = (size - reinterpret_cast<std::uintptr_t>(begin) % size) % size;
  if (before != 0) ::munmap(begin, before);
  ::munmap(begin + before + size, size - before);
  ::madvise(begin + before, size, MADV_HUGEPAGE);  // if the system has none, small pages must do
  return begin + before;
}

void unmap(void* memory, std::size_t size) noexcept { ::munmap(memory, size); }

// The system may take the pages when it wants some, until they are written to again.
void offer(void* memory, std::size_t size) noexcept { ::madvise(memory, size, MADV_FREE); }

#else

void* map_aligned(std::size_t) noexcept { return nullptr; }
void unmap(void*, std::size_t) noexcept {}
void offer(void*, std::size_t) noexcept {}

#endif

}  // namespace

void* FrameSlabs::obtain() noexcept {
  void* const memory = map_aligned(slab_size);
  if (memory != nullptr) ::new (memory) std::byte{};  // now, and not under the lock, the page is made
  return memory;
}

void FrameSlabs::add(void* memory, std::size_t frame_class) noexcept {
  auto* const slab = ::new (memory) Slab(frame_class);
  try {
    slabs_.insert(std::upper_bound(slabs_.begin(), slabs_.end(), slab, std::less<>()), slab);
    with_room_[frame_class].push_back(*slab);
  } catch (...) {
    discard(memory);
  }
}

bool FrameSlabs::add_kept(std::size_t frame_class) noexcept {
  if (kept_count_ == 0) return false;
  add(kept_[--kept_count_], frame_class);
  return true;
}

void FrameSlabs::discard(void* memory) noexcept {
  if (kept_count_ == most_kept) return unmap(memory, slab_size);
  offer(memory, slab_size);
  kept_[kept_count_++] = memory;
}

FrameSlabs::Chain FrameSlabs::take(std::size_t frame_class, std::uint32_t most) noexcept {
  Chain chain;
  Slab* slab = with_room_[frame_class].front();
  if (slab == nullptr) return chain;
  FrameBlock** end = &chain.first;
  for (; chain.count < most && slab->returned_count != 0; ++chain.count) {
    *end = slab->returned;
    slab->returned = slab->returned->next;
    --slab->returned_count;
    end = &(*end)->next;
  }
  for (; chain.count < most && slab->begun < capacity(frame_class); ++chain.count) {
    std::byte* const place =
        reinterpret_cast<std::byte*>(slab) + first_block + slab->begun++ * FrameCache::size_of(frame_class);
    *end = ::new (static_cast<void*>(place)) FrameBlock;
    end = &(*end)->next;
  }
  *end = nullptr;
  if (slab->returned_count == 0 && slab->begun == capacity(frame_class)) with_room_[frame_class].remove(*slab);
  return chain;
}

bool FrameSlabs::give_back(void* block) noexcept {
  // The last that begins before it, if it is long enough.
  const auto after = std::upper_bound(slabs_.begin(), slabs_.end(), block, std::less<>());
  if (after == slabs_.begin()) return false;
  Slab& slab = **(after - 1);
  if (reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(&slab) >= slab_size) return false;
  auto* const returned = ::new (block) FrameBlock;
  returned->next = slab.returned;
  slab.returned = returned;
  if (!slab.linked) with_room_[slab.frame_class].push_back(slab);
  if (++slab.returned_count == slab.begun) {
    with_room_[slab.frame_class].remove(slab);
    slabs_.erase(after - 1);
    discard(&slab);
  }
  return true;
}

}  // namespace cohort::detail
