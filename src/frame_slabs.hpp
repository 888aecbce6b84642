#pragma once

#include <cohort/detail/frame_memory.hpp>
#include <cohort/detail/intrusive_list.hpp>

#include <array>    // for std::array
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::uint32_t
#include <vector>   // for std::vector

namespace cohort::detail {

// Memory for the frames of a program that has very many of them: pieces of 2 MiB, on huge pages where the system has them.
// A task that has waited among a million others lies in no cache when it goes on, and with pages of 4 KiB neither does the
// way to its address: to look that up takes as long again.
//
// A slab has blocks of one class. When all of them have come back its memory is kept for the next slab, up to 128 MiB of such,
// but marked so that the system may take it meanwhile; to fetch it anew would cost more than all else that a task does.
// What is more goes back at once.
//
// Not thread-safe: its owner has a lock.
class FrameSlabs {
 public:
  struct Chain {
    FrameBlock* first = nullptr;
    std::uint32_t count = 0;
  };

  // Memory for a slab; null when there is none, or no such on this system. Not under the lock: the system may take long,
  // and others want to give back what they have.
  [[nodiscard]] static void* obtain() noexcept;
  // Makes that memory a slab.
  void add(void* memory, std::size_t frame_class) noexcept;
  // The same with memory that was kept; false when there is none.
  bool add_kept(std::size_t frame_class) noexcept;

  // Up to `most` blocks of a class; none when there is no slab that has any.
  [[nodiscard]] Chain take(std::size_t frame_class, std::uint32_t most) noexcept;

  // True when the block came from here: then it is taken back.
  bool give_back(void* block) noexcept;

 private:
  // Stands at the beginning of its memory.
  struct Slab {
    Slab(std::size_t blocks_class) noexcept : frame_class(blocks_class) {}

    Slab* next = nullptr;
    Slab* previous = nullptr;
    bool linked = false;
    const std::size_t frame_class;
    FrameBlock* returned = nullptr;  // blocks that have come back
    std::uint32_t returned_count = 0;
    std::uint32_t begun = 0;  // blocks that have ever been given out, from the first
  };

  static constexpr std::size_t slab_size = std::size_t{1} << 21U;
  static constexpr std::size_t first_block = 64;
  static constexpr std::uint32_t capacity(std::size_t frame_class) noexcept {
    return static_cast<std::uint32_t>((slab_size - first_block) / FrameCache::size_of(frame_class));
  }
  static_assert(sizeof(Slab) <= first_block);
  static constexpr std::size_t most_kept = 64;

  void discard(void* memory) noexcept;

  std::vector<Slab*> slabs_;                                            // by address
  std::array<IntrusiveList<Slab>, FrameCache::class_count> with_room_;  // those that have blocks to give
  std::array<void*, most_kept> kept_{};                                 // memory of no slab, its contents lost
  std::size_t kept_count_ = 0;
};

}  // namespace cohort::detail
