#include <cohort/detail/frame_memory.hpp>

#include "fork_guard.hpp"
#include "frame_slabs.hpp"

#include <algorithm>  // for std::min
#include <array>      // for std::array
#include <atomic>     // for std::atomic
#include <cstdint>    // for std::uint32_t
#include <mutex>      // for std::mutex
#include <new>        // for operator new
#include <optional>   // for std::optional
#include <utility>    // for std::exchange

#if __has_include(<pthread.h>)
#include <pthread.h>  // for pthread_key_create: cleaning up at thread exit without a destructor in thread-local storage
#define COHORT_HAS_THREAD_EXIT 1
#else
#define COHORT_HAS_THREAD_EXIT 0
#endif

// Sanitizers must see every block's birth and death, so under them each goes straight to operator new and delete.
// Decided here, in the one compiled place, so that programs and library cannot disagree.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COHORT_POOL_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define COHORT_POOL_FRAMES 0
#endif
#endif
#ifndef COHORT_POOL_FRAMES
#define COHORT_POOL_FRAMES 1
#endif

namespace cohort::detail {

constinit thread_local FrameCache this_thread_frame_cache{};

#if defined(__clang__) && __clang_major__ < 17
FrameCache& frame_cache() noexcept { return this_thread_frame_cache; }
#endif

namespace {

constexpr std::uint32_t batch_size = 64;      // blocks that move together between a thread and the shared store
constexpr std::uint32_t always_kept = 64;     // batches per class in the shared store
constexpr std::uint32_t taken_between = 256;  // so many are taken between two looks for what nobody needs
constexpr std::size_t beyond_is_much = std::size_t{1} << 20U;  // bytes of one class: what is more comes in slabs

// Batches of one class. While an executor lives all are kept, for memory that was needed once is most likely needed again
// and costs more to get from the system than all else that a task does; but of those that lay there untouched while many
// were taken, a part goes back each time.
struct Shelf {
  FrameBlock* batches = nullptr;
  std::atomic<std::uint32_t> count{0};  // written under the mutex
  std::uint32_t fewest = 0;             // since the last look
  std::uint32_t taken = 0;              // since then
  std::atomic<std::size_t> singles{0};  // blocks of this class that are operator new's
};

struct Store {
  std::mutex mutex;  // of all that follows; taken once for many blocks
  std::array<Shelf, FrameCache::class_count> shelves;
  FrameSlabs slabs;
  std::size_t pools = 0;  // that live
  FrameCache* caches = nullptr;
  std::ptrdiff_t obtained_by_ended_threads = 0;
};

// Never destroyed: frames may be freed by any thread until the very end of the process.
union Immortal {
  constexpr Immortal() noexcept : store() {}
  ~Immortal() {}
  Store store;
};
constinit Immortal immortal;

Store& store() noexcept { return immortal.store; }

// While a process forks its store is locked, so that the child finds it whole, and unlocked. For whoever begins to use it:
// throws std::bad_alloc, and then the next one tries again.
void survive_forks() {
  constexpr auto unlock = [] { store().mutex.unlock(); };
  static const AtFork registered([] { store().mutex.lock(); }, unlock, unlock);
}

// A block came from operator new, or went back to it.
void count(std::ptrdiff_t change) noexcept {
  if (!frame_cache().registered) {
    const std::lock_guard lock(store().mutex);
    store().obtained_by_ended_threads += change;
    return;
  }
  std::atomic<std::ptrdiff_t>& obtained = frame_cache().obtained;
  // relaxed: a single writer; live_frames() promises no more than a count
  obtained.store(obtained.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

// Gives blocks back to where they came from.
void free_batch(std::size_t index, FrameBlock* batch) noexcept {
  if (batch == nullptr) return;
  FrameBlock* singles = nullptr;
  std::size_t single_count = 0;
  std::ptrdiff_t returned = 0;
  {
    const std::lock_guard lock(store().mutex);
    while (batch != nullptr) {
      FrameBlock* const next = batch->next;
      if (!store().slabs.give_back(batch)) {
        batch->next = singles;
        singles = batch;
        ++single_count;
      }
      ++returned;
      batch = next;
    }
  }
  store().shelves[index].singles.fetch_sub(single_count, std::memory_order_relaxed);  // relaxed: a number
  while (singles != nullptr) ::operator delete(std::exchange(singles, singles->next));
  count(-returned);
}

// Takes batches off a shelf, chained; under the mutex.
FrameBlock* unshelve(Shelf& shelf, std::uint32_t batches) noexcept {
  FrameBlock* const first = shelf.batches;
  FrameBlock* last = nullptr;
  for (std::uint32_t i = 0; i < batches; ++i) {
    last = shelf.batches;
    shelf.batches = last->next_batch;
  }
  if (last == nullptr) return nullptr;
  last->next_batch = nullptr;
  // relaxed, both: under the mutex
  shelf.count.store(shelf.count.load(std::memory_order_relaxed) - batches, std::memory_order_relaxed);
  return first;
}

void free_batches(std::size_t index, FrameBlock* batch) noexcept {
  while (batch != nullptr) {
    FrameBlock* const next = batch->next_batch;
    free_batch(index, batch);
    batch = next;
  }
}

void shelve(std::size_t index, FrameBlock* batch) noexcept {
  Store& shared = store();
  {
    const std::lock_guard lock(shared.mutex);
    Shelf& shelf = shared.shelves[index];
    const std::uint32_t count = shelf.count.load(std::memory_order_relaxed);  // relaxed, both: under the mutex
    if (shared.pools != 0 || count < always_kept) {
      batch->next_batch = shelf.batches;
      shelf.batches = batch;
      shelf.count.store(count + 1, std::memory_order_relaxed);
      return;
    }
  }
  free_batch(index, batch);
}

FrameBlock* take_batch(std::size_t index) noexcept {
  Store& shared = store();
  Shelf& shelf = shared.shelves[index];
  // relaxed: a batch that comes at this very moment is there for the next
  if (shelf.count.load(std::memory_order_relaxed) == 0) return nullptr;
  FrameBlock* batch = nullptr;
  FrameBlock* surplus = nullptr;
  {
    const std::lock_guard lock(shared.mutex);
    batch = unshelve(shelf, shelf.batches != nullptr ? 1 : 0);
    const std::uint32_t left = shelf.count.load(std::memory_order_relaxed);  // relaxed: under the mutex
    shelf.fewest = std::min(shelf.fewest, left);
    if (++shelf.taken == taken_between) {
      if (shelf.fewest > always_kept) surplus = unshelve(shelf, std::min(shelf.fewest - always_kept, always_kept));
      shelf.taken = 0;
      shelf.fewest = shelf.count.load(std::memory_order_relaxed);  // relaxed: under the mutex
    }
  }
  free_batches(index, surplus);
  return batch;
}

// Takes what the calling thread keeps of a class.
void empty_own_list(std::size_t index) noexcept {
  FrameList& list = frame_cache().lists[index];
  free_batch(index, std::exchange(list.first, nullptr));
  list.room.store(batch_size, std::memory_order_relaxed);  // relaxed, both: own
  FrameBlock* const batch = list.full_batch.exchange(nullptr, std::memory_order_relaxed);
  if (batch != nullptr) shelve(index, batch);
}

// At a thread's end: its blocks go to the shared store and its count to the total.
void end_thread(void*) noexcept {
  FrameCache& cache = frame_cache();
  for (std::size_t index = 0; index < FrameCache::class_count; ++index) {
    empty_own_list(index);
    cache.lists[index].room.store(0, std::memory_order_relaxed);  // relaxed: own
  }
  Store& shared = store();
  std::lock_guard lock(shared.mutex);
  if (!cache.registered) return;
  cache.registered = false;
  shared.obtained_by_ended_threads += cache.obtained.load(std::memory_order_relaxed);  // relaxed: own writes
  cache.obtained.store(0, std::memory_order_relaxed);                                  // relaxed: under the mutex
  (cache.previous != nullptr ? cache.previous->next : shared.caches) = cache.next;
  if (cache.next != nullptr) cache.next->previous = cache.previous;
}

// Makes the thread known, so that it may keep blocks until its end. Where that cannot be told, since the process has used
// up its keys or the system has no memory for the thread's values, the thread stays unknown: it keeps nothing, and each
// of its blocks is operator new's.
void register_thread() noexcept {
  FrameCache& cache = frame_cache();
#if COHORT_HAS_THREAD_EXIT
  static const std::optional<pthread_key_t> key = []() -> std::optional<pthread_key_t> {
    pthread_key_t made{};
    if (pthread_key_create(&made, [](void* value) { end_thread(value); }) != 0) return std::nullopt;
    return made;
  }();
  if (!key.has_value() || pthread_setspecific(*key, &cache) != 0) return;
#endif
  Store& shared = store();
  std::lock_guard lock(shared.mutex);
  cache.registered = true;
#if COHORT_POOL_FRAMES
  for (std::size_t index = 0; index < FrameCache::class_count; ++index)
    cache.lists[index].room.store(batch_size, std::memory_order_relaxed);  // relaxed: own
#endif
  cache.previous = nullptr;
  cache.next = shared.caches;
  if (shared.caches != nullptr) shared.caches->previous = &cache;
  shared.caches = &cache;
}

constexpr bool is_much(std::size_t blocks, std::size_t frame_class) noexcept {
  return blocks * FrameCache::size_of(frame_class) >= beyond_is_much;
}

FrameSlabs::Chain take_from_slab(std::size_t frame_class) noexcept {
  FrameSlabs& slabs = store().slabs;
  std::unique_lock lock(store().mutex);
  FrameSlabs::Chain chain = slabs.take(frame_class, batch_size);
  if (chain.count == 0 && slabs.add_kept(frame_class)) chain = slabs.take(frame_class, batch_size);
  if (chain.count != 0) return chain;
  lock.unlock();
  void* const memory = FrameSlabs::obtain();
  lock.lock();
  if (memory != nullptr) slabs.add(memory, frame_class);
  return slabs.take(frame_class, batch_size);
}

constexpr bool pooled(std::size_t frame_class) noexcept {
  return COHORT_POOL_FRAMES != 0 && frame_class != FrameCache::no_class;
}

// How many free blocks a list holds.
std::uint32_t blocks_in(const FrameList& list) noexcept {
  if (COHORT_POOL_FRAMES == 0) return 0;
  // relaxed, both: see count()
  return batch_size - list.room.load(std::memory_order_relaxed) +
         (list.full_batch.load(std::memory_order_relaxed) != nullptr ? batch_size : 0);
}

}  // namespace

// The thread's list is empty: its spare batch, a batch of the shared store, some of a slab, or one new block.
void* allocate_frame_slowly(std::size_t size) {
  FrameCache& cache = frame_cache();
  if (!cache.registered) {
    survive_forks();
    register_thread();
  }
  const std::size_t frame_class = FrameCache::class_of(size);
  void* block = nullptr;
  if (pooled(frame_class)) {
    FrameList& list = cache.lists[frame_class];
    FrameBlock* batch = list.full_batch.exchange(nullptr, std::memory_order_relaxed);  // relaxed, both: own
    if (batch == nullptr && cache.registered) batch = take_batch(frame_class);
    if (batch != nullptr) {
      list.first = batch->next;
      list.room.store(1, std::memory_order_relaxed);
      return batch;
    }
    // relaxed: a number
    std::atomic<std::size_t>& singles = store().shelves[frame_class].singles;
    if (cache.registered && is_much(singles.load(std::memory_order_relaxed), frame_class)) {
      const FrameSlabs::Chain chain = take_from_slab(frame_class);
      if (chain.count != 0) {
        list.first = chain.first->next;
        list.room.store(batch_size + 1 - chain.count, std::memory_order_relaxed);  // relaxed: own
        count(chain.count);
        return chain.first;
      }
    }
    block = ::operator new(FrameCache::size_of(frame_class));
    singles.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number
  } else {
    block = ::operator new(size);
  }
  count(1);
  return block;
}

// The thread's list is full: it becomes its spare batch, and the one it had goes to the shared store.
void free_frame_slowly(void* block, std::size_t frame_class) noexcept {
  FrameCache& cache = frame_cache();
  if (!cache.registered) {
    register_thread();
    if (pooled(frame_class) && cache.registered) return free_frame(block, frame_class);
  }
  if (!pooled(frame_class)) {
    ::operator delete(block);
    count(-1);
    return;
  }
  if (!cache.registered) {
    auto* const freed = ::new (block) FrameBlock;
    freed->next = nullptr;
    return free_batch(frame_class, freed);
  }
  FrameList& list = cache.lists[frame_class];
  // relaxed, both: own
  FrameBlock* const batch = list.full_batch.exchange(std::exchange(list.first, nullptr), std::memory_order_relaxed);
  list.room.store(batch_size, std::memory_order_relaxed);
  if (batch != nullptr) shelve(frame_class, batch);
  free_frame(block, frame_class);
}

void pool_begins() {
  survive_forks();
  Store& shared = store();
  const std::lock_guard lock(shared.mutex);
  ++shared.pools;
}

void pool_ended() noexcept {
  Store& shared = store();
  {
    const std::lock_guard lock(shared.mutex);
    if (--shared.pools != 0) return;
  }
  for (std::size_t index = 0; index < FrameCache::class_count; ++index) {
    Shelf& shelf = shared.shelves[index];
    // relaxed: what comes at this very moment stays. What is there says it, not where it came from: the first that have
    // gone back may all have been operator new's.
    if (!is_much(std::size_t{shelf.count.load(std::memory_order_relaxed)} * batch_size, index)) continue;
    if (frame_cache().registered) empty_own_list(index);  // one block is enough to keep a slab
    FrameBlock* surplus = nullptr;
    {
      const std::lock_guard lock(shared.mutex);
      surplus = unshelve(shelf, shelf.count.load(std::memory_order_relaxed));  // relaxed: under the mutex
      shelf.fewest = 0;
    }
    free_batches(index, surplus);
  }
}

std::ptrdiff_t live_frames() noexcept {
  Store& shared = store();
  const std::lock_guard lock(shared.mutex);
  std::ptrdiff_t total = shared.obtained_by_ended_threads;
  // relaxed: under the mutex
  for (const Shelf& shelf : shared.shelves)
    total -= std::ptrdiff_t{shelf.count.load(std::memory_order_relaxed)} * batch_size;
  for (FrameCache* each = shared.caches; each != nullptr; each = each->next) {
    total += each->obtained.load(std::memory_order_relaxed);  // relaxed: see count()
    for (std::size_t index = 0; index < FrameCache::class_count; ++index) total -= blocks_in(each->lists[index]);
  }
  return total;
}

}  // namespace cohort::detail
