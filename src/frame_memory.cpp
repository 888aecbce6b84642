#include <cohort/detail/frame_memory.hpp>

#include <array>    // for std::array
#include <atomic>   // for std::atomic
#include <cstdint>  // for std::uint32_t
#include <mutex>    // for std::mutex
#include <new>      // for operator new

#if __has_include(<pthread.h>)
#include <pthread.h>  // for pthread_atfork, and pthread_key_create: cleaning up at thread exit without a destructor in thread-local storage
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
namespace {

constexpr std::size_t class_size = 64;     // blocks are multiples of a cache line
constexpr std::size_t class_count = 32;    // up to 2 KiB; larger frames are rare and go to operator new
constexpr std::uint32_t batch_size = 64;   // blocks that move together between a thread and the shared store
constexpr std::uint32_t max_batches = 64;  // kept per class in the shared store; beyond that, batches are really freed

// A free block. In a batch, `next` chains the blocks of the batch and `next_batch`, in the first, the batches.
struct Block {
  Block* next;
  Block* next_batch;
};

// What one thread keeps of one class: at most two batches, so that a thread that allocates and frees at the boundary
// of a batch does not go to the shared store each time.
struct FreeList {
  Block* first;
  std::uint32_t count;
  Block* full_batch;
};

// One thread's cache. Trivially destructible: it stays usable while statics and other thread-locals are destroyed.
struct Cache {
  std::array<FreeList, class_count> lists;
  std::atomic<std::ptrdiff_t> live;  // written by the owner only, read by live_frames()
  Cache* next;                       // the list of all threads' caches; under Store::mutex
  Cache* previous;
  bool registered;
};

struct Shelf {
  std::mutex mutex;
  Block* batches = nullptr;
  std::uint32_t count = 0;
};

struct Store {
  std::array<Shelf, class_count> shelves;
  std::mutex mutex;
  Cache* caches = nullptr;
  std::ptrdiff_t live_of_ended_threads = 0;
};

Store& store();

#if COHORT_HAS_THREAD_EXIT
// While a process forks its store is locked, so that the child finds it whole, and unlocked.
void lock_store() noexcept {
  Store& shared = store();
  for (Shelf& shelf : shared.shelves) shelf.mutex.lock();
  shared.mutex.lock();
}
void unlock_store() noexcept {
  Store& shared = store();
  shared.mutex.unlock();
  for (Shelf& shelf : shared.shelves) shelf.mutex.unlock();
}
#endif

// Never destroyed: frames may be freed by any thread until the very end of the process.
Store& store() {
  static Store* const immortal = [] {
    auto* const made = new Store;
#if COHORT_HAS_THREAD_EXIT
    pthread_atfork(lock_store, unlock_store, unlock_store);
#endif
    return made;
  }();
  return *immortal;
}

constinit thread_local Cache cache{};

void free_batch(Block* batch) noexcept {
  while (batch != nullptr) {
    Block* next = batch->next;
    ::operator delete(batch);
    batch = next;
  }
}

void shelve(std::size_t index, Block* batch) noexcept {
  Shelf& shelf = store().shelves[index];
  {
    std::lock_guard lock(shelf.mutex);
    if (shelf.count < max_batches) {
      batch->next_batch = shelf.batches;
      shelf.batches = batch;
      ++shelf.count;
      return;
    }
  }
  free_batch(batch);
}

Block* take_batch(std::size_t index) noexcept {
  Shelf& shelf = store().shelves[index];
  std::lock_guard lock(shelf.mutex);
  Block* batch = shelf.batches;
  if (batch != nullptr) {
    shelf.batches = batch->next_batch;
    --shelf.count;
  }
  return batch;
}

// At a thread's end: its blocks go to the shared store and its count to the total.
void end_thread(void*) noexcept {
  for (std::size_t index = 0; index < class_count; ++index) {
    FreeList& list = cache.lists[index];
    free_batch(list.first);
    if (list.full_batch != nullptr) shelve(index, list.full_batch);
    list = {};
  }
  Store& shared = store();
  std::lock_guard lock(shared.mutex);
  if (!cache.registered) return;
  cache.registered = false;
  shared.live_of_ended_threads += cache.live.load(std::memory_order_relaxed);  // relaxed: own writes
  cache.live.store(0, std::memory_order_relaxed);                              // relaxed: under the mutex
  (cache.previous != nullptr ? cache.previous->next : shared.caches) = cache.next;
  if (cache.next != nullptr) cache.next->previous = cache.previous;
}

void register_thread() {
#if COHORT_HAS_THREAD_EXIT
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    pthread_key_create(&made, [](void* value) { end_thread(value); });
    return made;
  }();
  pthread_setspecific(key, &cache);
#endif
  Store& shared = store();
  std::lock_guard lock(shared.mutex);
  cache.registered = true;
  cache.previous = nullptr;
  cache.next = shared.caches;
  if (shared.caches != nullptr) shared.caches->previous = &cache;
  shared.caches = &cache;
}

void count(std::ptrdiff_t change) noexcept {
  // relaxed: a single writer; live_frames() promises no more than a count
  cache.live.store(cache.live.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

constexpr std::size_t class_of(std::size_t size) noexcept { return (size - 1) / class_size; }

// The thread's list is empty: its spare batch, a batch of the shared store, or one new block.
[[gnu::noinline]] void* allocate_slowly(std::size_t index) {
  if (!cache.registered) register_thread();
  FreeList& list = cache.lists[index];
  Block* batch = list.full_batch != nullptr ? list.full_batch : take_batch(index);
  list.full_batch = nullptr;
  if (batch == nullptr) return ::operator new((index + 1) * class_size);
  list.first = batch->next;
  list.count = batch_size - 1;
  return batch;
}

[[gnu::noinline]] void set_batch_aside(std::size_t index) noexcept {
  FreeList& list = cache.lists[index];
  if (list.full_batch != nullptr) shelve(index, list.full_batch);
  list.full_batch = list.first;
  list.first = nullptr;
  list.count = 0;
}

}  // namespace

void* allocate_frame(std::size_t size) {
  const std::size_t index = class_of(size);
  void* block = nullptr;
  if (!COHORT_POOL_FRAMES || index >= class_count) [[unlikely]] {
    if (!cache.registered) register_thread();
    block = ::operator new(size);
  } else if (FreeList& list = cache.lists[index]; list.first != nullptr) [[likely]] {
    block = list.first;
    list.first = list.first->next;
    --list.count;
  } else {
    block = allocate_slowly(index);
  }
  count(1);
  return block;
}

void free_frame(void* pointer, std::size_t size) noexcept {
  if (!cache.registered) [[unlikely]]
    register_thread();
  count(-1);
  const std::size_t index = class_of(size);
  if (!COHORT_POOL_FRAMES || index >= class_count) [[unlikely]] {
    ::operator delete(pointer);
    return;
  }
  FreeList& list = cache.lists[index];
  list.first = ::new (pointer) Block{list.first, nullptr};
  if (++list.count == batch_size) [[unlikely]]
    set_batch_aside(index);
}

std::ptrdiff_t live_frames() noexcept {
  Store& shared = store();
  std::lock_guard lock(shared.mutex);
  std::ptrdiff_t total = shared.live_of_ended_threads;
  for (Cache* each = shared.caches; each != nullptr; each = each->next) {
    total += each->live.load(std::memory_order_relaxed);  // relaxed: see count()
  }
  return total;
}

}  // namespace cohort::detail
