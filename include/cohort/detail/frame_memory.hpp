#pragma once

#include <array>    // for std::array
#include <atomic>   // for std::atomic
#include <cstddef>  // for std::size_t, std::ptrdiff_t
#include <cstdint>  // for std::uint32_t
#include <new>      // for placement new

namespace cohort::detail {

/// The alignment of every block: that of plain `operator new`, and the most that GCC honours in a coroutine frame.
inline constexpr std::size_t frame_alignment = 16;

/// A free block. In a batch, `next` chains the blocks of the batch and `next_batch`, in the first, the batches.
struct FrameBlock {
  FrameBlock* next;
  FrameBlock* next_batch;
};

/// What one thread keeps of one class of blocks: at most two batches, so that a thread that allocates and frees at the
/// boundary of a batch does not go to the shared store each time.
struct FrameList {
  FrameBlock* first;
  std::atomic<std::uint32_t> room;  // for so many more; written by the owner only, read by live_frames(), as the next
  std::atomic<FrameBlock*> full_batch;

  [[nodiscard]] bool has_room() const noexcept { return room.load(std::memory_order_relaxed) != 0; }  // relaxed: own
  /// Takes the first block; null when there is none.
  [[nodiscard]] void* take() noexcept {
    FrameBlock* const block = first;
    if (block != nullptr) [[likely]] {
      first = block->next;
      room.store(room.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // relaxed: own
    }
    return block;
  }
  /// Keeps a block; there must be room.
  void put(void* block) noexcept {
    room.store(room.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);  // relaxed: own
    auto* const freed = ::new (block) FrameBlock;
    freed->next = first;
    first = freed;
  }
};

/// One thread's free blocks. Trivially destructible: usable while statics and other thread-locals are destroyed. All
/// zero, nothing in it and no room for anything, until the thread is known, and for ever where nothing is to be kept.
struct FrameCache {
  static constexpr std::size_t class_count = 128;  // up to 2 KiB; larger frames are rare and go to operator new
  static constexpr std::size_t no_class = class_count;

  static constexpr std::size_t class_of(std::size_t size) noexcept {
    const std::size_t index = (size - 1) / frame_alignment;
    return index < class_count ? index : no_class;
  }
  static constexpr std::size_t size_of(std::size_t frame_class) noexcept { return (frame_class + 1) * frame_alignment; }

  std::array<FrameList, class_count + 1> lists;  // that of no_class is always empty, and without room
  std::atomic<std::ptrdiff_t> obtained;  // blocks from operator new, less those given back; written by the owner only
  FrameCache* next;                      // the list of all threads' caches; under the store's mutex
  FrameCache* previous;
  bool registered;
};

#if defined(__clang__) && __clang_major__ < 17
FrameCache& frame_cache() noexcept;  // as thread_context()
#else
extern constinit thread_local FrameCache this_thread_frame_cache;
inline FrameCache& frame_cache() noexcept { return this_thread_frame_cache; }
#endif

// When this thread has no block of that class, or no room for one.
[[nodiscard]] void* allocate_frame_slowly(std::size_t size);
void free_frame_slowly(void* block, std::size_t frame_class) noexcept;

/// Memory for one task: its shared state and its coroutine frame in one block.
///
/// Small blocks come from a free list of the calling thread and go back to the list of the thread that frees them; what
/// a thread has too many of, or runs out of, moves to and from a shared store in batches, so that frames freed by the
/// workers find their way home to the thread that submits.
///
/// *Throws*: `std::bad_alloc`. *Thread safety*: any thread. *Complexity*: O(1), no atomic operation in the common case.
[[nodiscard]] inline void* allocate_frame(std::size_t size) {
  void* const block = frame_cache().lists[FrameCache::class_of(size)].take();
  if (block == nullptr) [[unlikely]]
    return allocate_frame_slowly(size);
  return block;
}

/// What the calling thread keeps of a class that is not known before.
[[nodiscard]] inline FrameList& frame_list(std::size_t frame_class) noexcept {
  FrameList* list = &frame_cache().lists[frame_class];
#if defined(__GNUC__) && !defined(__clang__)
  asm("" : "+r"(list));  // GCC would compute the address anew for each of its members
#endif
  return *list;
}

/// Gives back a block of `allocate_frame(size)`, of the class `class_of(size)`; never allocates.
inline void free_frame(void* block, std::size_t frame_class) noexcept {
  FrameList& list = frame_list(frame_class);
  if (!list.has_room()) [[unlikely]]
    return free_frame_slowly(block, frame_class);
  list.put(block);
}

/// While a pool lives free blocks are kept for its next tasks; when the last has ended they go back where there are many.
/// The beginning *throws* `std::bad_alloc`.
void pool_begins();
void pool_ended() noexcept;

/// How many blocks are in use in the whole process. For tests: exact when no thread is allocating or freeing.
[[nodiscard]] std::ptrdiff_t live_frames() noexcept;

}  // namespace cohort::detail
