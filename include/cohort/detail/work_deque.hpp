#pragma once

#include <cohort/detail/cache_line.hpp>
#include <cohort/detail/sync.hpp>

#include <atomic>   // for std::memory_order
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::int64_t
#include <memory>   // for std::unique_ptr
#include <new>      // for std::bad_alloc

namespace cohort::detail {

/// A worker's own queue: the owner pushes and pops at the bottom, last in, first out; thieves take the oldest at the
/// top.
///
/// Chase and Lev, "Dynamic circular work-stealing deque", SPAA 2005, doi:10.1145/1073970.1073974; memory orders after
/// Lê, Pop, Cohen and Zappa Nardelli, "Correct and efficient work-stealing for weak memory models", PPoPP 2013,
/// doi:10.1145/2442516.2442524, with their fences replaced by sequentially consistent stores and loads, which thread
/// sanitizers understand and which cost the same.
///
/// *Thread safety*: `steal`, `size` and `empty` by anyone; the rest by the owner only, which may change hands under a
/// lock. `Atomic` is a parameter so that a model checker can put its own in place of `std::atomic`.
template <class T, template <class> class Atomic = sync::atomic>
class WorkDeque {
 public:
  explicit WorkDeque(std::size_t capacity = 256)
      : buffer_(new Buffer(capacity, nullptr)), full_at_(static_cast<std::int64_t>(capacity)) {}
  WorkDeque(const WorkDeque&) = delete;
  WorkDeque& operator=(const WorkDeque&) = delete;
  // Nobody may be stealing any more.
  ~WorkDeque() {
    for (Buffer* buffer = buffer_.load(std::memory_order_relaxed); buffer != nullptr;) {  // relaxed: alone by contract
      std::unique_ptr<Buffer> owned(buffer);
      buffer = owned->retired;
    }
  }

  /// Whether one more element can be pushed, as far as the owner knows. It looks at its own only, for thieves write the
  /// top: there may be room of which it learns in `reserve` and `try_push`.
  [[nodiscard]] bool has_room() const noexcept {
    return bottom_.load(std::memory_order_relaxed) < full_at_;  // relaxed: own
  }

  /// Makes room for one more element, so that it can be pushed.
  ///
  /// *Throws*: `std::bad_alloc`, the deque unchanged.
  void reserve() {
    if (!has_room() && !find_room()) [[unlikely]]
      grow();
  }

  /// The same for so many.
  void reserve(std::size_t count) {
    // relaxed: own
    const std::int64_t end = bottom_.load(std::memory_order_relaxed) + static_cast<std::int64_t>(count);
    if (end <= full_at_) [[likely]]
      return;
    static_cast<void>(find_room());
    while (end > full_at_) grow();
  }

  /// Adds at the bottom; room must have been reserved.
  void push_reserved(T* element) noexcept {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);  // relaxed: own
    buffer_.load(std::memory_order_relaxed)->put(bottom, element);        // relaxed: own
    // seq_cst: publishes the element to thieves, and stands before the pusher's look for sleeping workers; a worker
    // going to sleep announces itself and then looks here. One of the two sees the other.
    bottom_.store(bottom + 1, std::memory_order_seq_cst);
  }

  /// The same of what was under way and is to go on next; allocates nothing, and is false when there is no room.
  [[nodiscard]] bool try_push(T* element) noexcept {
    if (!has_room() && !find_room()) [[unlikely]]
      return false;
    push_reserved(element);
    goes_on_at_ = bottom_.load(std::memory_order_relaxed);  // relaxed: own
    return true;
  }

  /// The same for `count` elements, shown to thieves at once; the first becomes the newest. It makes room if it can, and adds
  /// all or none.
  template <class Element>
  [[nodiscard]] bool try_push_all(Element* const* elements, std::size_t count) noexcept {
    try {
      reserve(count);
    } catch (const std::bad_alloc&) {
      return false;
    }
    const std::int64_t end =
        bottom_.load(std::memory_order_relaxed) + static_cast<std::int64_t>(count);  // relaxed: own
    Buffer& buffer = *buffer_.load(std::memory_order_relaxed);                       // relaxed: own
    for (std::size_t index = 0; index < count; ++index) {
      buffer.put(end - 1 - static_cast<std::int64_t>(index), elements[index]);
    }
    bottom_.store(end, std::memory_order_seq_cst);  // seq_cst: as in push_reserved()
    goes_on_at_ = end;
    return true;
  }

  /// The element `pop` would take were no thief about; null when there is none. A hint: a thief may have it already.
  [[nodiscard]] T* newest() const noexcept {
    return at(bottom_.load(std::memory_order_relaxed) - 1);  // relaxed: own
  }

  /// The index that is pushed at next.
  [[nodiscard]] std::int64_t bottom() const noexcept {
    return bottom_.load(std::memory_order_relaxed);
  }  // relaxed: own

  /// Takes the newest element; null when empty.
  [[nodiscard]] T* pop() noexcept {
    const std::int64_t last = bottom_.load(std::memory_order_relaxed) - 1;  // relaxed: own
    T* const element = at(last);
    return take_last(last) ? element : nullptr;
  }

  /// Takes `element` if it is the newest; false, and nothing done, when it is not.
  [[nodiscard]] bool pop(const T* element) noexcept {
    const std::int64_t last = bottom_.load(std::memory_order_relaxed) - 1;  // relaxed: own
    return at(last) == element && take_last(last);
  }

  /// Takes `element` if it is the newest, or if it is the oldest and the newest is none that try_push() has added; false,
  /// and nothing done, when it is not.
  [[nodiscard]] bool take(const T* element) noexcept { return pop(element) || take_oldest(element); }

  /// Takes the oldest element; null when empty or when another taker was faster.
  [[nodiscard]] T* steal() noexcept {
    // seq_cst, top before bottom: pairs with pop()'s bottom before top.
    std::int64_t top = top_.load(std::memory_order_seq_cst);
    const std::int64_t bottom = bottom_.load(std::memory_order_seq_cst);
    if (top >= bottom) return nullptr;
    // acquire: pairs with the release in grow(). The element read may be overwritten by the owner only after the top
    // has moved on, and then the exchange below fails and what was read is not used.
    T* element = buffer_.load(std::memory_order_acquire)->get(top);
    if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst)) return nullptr;
    return element;
  }

  /// How many there are, or were a moment ago.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::int64_t top = top_.load(std::memory_order_relaxed);  // relaxed, both: a moment's view
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
    return bottom > top ? static_cast<std::size_t>(bottom - top) : 0;
  }

  /// Whether there was nothing to take. seq_cst, for the look around before sleeping: see push_reserved().
  [[nodiscard]] bool empty() const noexcept {
    const std::int64_t top = top_.load(std::memory_order_seq_cst);
    return top >= bottom_.load(std::memory_order_seq_cst);
  }

 private:
  // A ring of a power of two of elements.
  struct Buffer {
    Buffer(std::size_t capacity, Buffer* older)
        : mask(static_cast<std::int64_t>(capacity) - 1), slots(new Atomic<T*>[capacity]()), retired(older) {}
    [[nodiscard]] std::int64_t size() const noexcept { return mask + 1; }
    // relaxed: the bottom publishes what is put and the top arbitrates what is got
    void put(std::int64_t index, T* element) noexcept {
      slots[static_cast<std::size_t>(index & mask)].store(element, std::memory_order_relaxed);
    }
    [[nodiscard]] T* get(std::int64_t index) const noexcept {
      // relaxed: as in put()
      return slots[static_cast<std::size_t>(index & mask)].load(std::memory_order_relaxed);
    }

    std::int64_t mask;
    std::unique_ptr<Atomic<T*>[]> slots;
    Buffer* retired;  // the smaller buffer before this one, freed with it
  };

  // What the owner sees at an index; what is no element, below the top, is there still.
  [[nodiscard]] T* at(std::int64_t index) const noexcept {
    return buffer_.load(std::memory_order_relaxed)->get(index);  // relaxed: own
  }

  // Takes the newest element, at `last`, unless a thief was faster.
  [[nodiscard]] bool take_last(std::int64_t last) noexcept {
    // seq_cst, store then load: either a thief sees that the bottom has gone down, or we see that the top has gone up.
    bottom_.store(last, std::memory_order_seq_cst);
    std::int64_t top = top_.load(std::memory_order_seq_cst);
    if (top < last) [[likely]]
      return true;
    // Of the only one thieves may want it, too, and the top decides.
    const bool taken = top == last && top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst);
    bottom_.store(last + 1, std::memory_order_relaxed);  // relaxed: empty either way, nothing published
    return taken;
  }

  // Takes `element` as a thief would, if it is the oldest. Not inline: it would be the longer part of what is most often
  // a pop.
  [[nodiscard, gnu::noinline]] bool take_oldest(const T* element) noexcept {
    // relaxed: it is in the deque only if it was there when the top was this, and the exchange says whether it still is
    std::int64_t top = top_.load(std::memory_order_relaxed);
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);  // relaxed: own
    return top < bottom && bottom != goes_on_at_ && at(top) == element &&
           top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst);
  }

  // Looks how much room thieves have made. It and grow() are not inline, for the sake of the registers that reserve()
  // then need not save.
  [[gnu::noinline]] bool find_room() noexcept {
    // acquire: pairs with the exchange of steal(), which comes after its reading of the element there
    full_at_ = top_.load(std::memory_order_acquire) + buffer_.load(std::memory_order_relaxed)->size();  // relaxed: own
    return has_room();
  }

  [[gnu::noinline, gnu::cold]] void grow() {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);  // relaxed, both: own
    const std::int64_t top = top_.load(std::memory_order_acquire);        // acquire: as in find_room()
    Buffer* buffer = buffer_.load(std::memory_order_relaxed);
    Buffer* larger = new Buffer(static_cast<std::size_t>(buffer->size()) * 2, buffer);
    for (std::int64_t index = top; index < bottom; ++index) larger->put(index, buffer->get(index));
    // release: a thief that sees the new buffer sees what was copied into it. The old one is kept: a thief may be
    // reading it, and finds the same elements there.
    buffer_.store(larger, std::memory_order_release);
    full_at_ = top + larger->size();
  }

  // Owner: reads and writes bottom_ and buffer_. Thieves: read both. Everyone: moves top_ on by compare-exchange. On
  // lines of their own, so that thieves at work do not slow the owner's pushes.
  alignas(cache_line_size) Atomic<std::int64_t> bottom_{0};
  Atomic<Buffer*> buffer_;
  std::int64_t full_at_;         // the owner's: the bottom at which there is no room, by the top that it has seen last
  std::int64_t goes_on_at_ = 0;  // the owner's: the bottom at which what try_push() added last is the newest
  alignas(cache_line_size) Atomic<std::int64_t> top_{0};
};

}  // namespace cohort::detail
