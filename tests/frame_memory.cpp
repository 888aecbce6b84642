// The memory of frames where there are very many: slabs, and how they go back.
#include "../src/frame_slabs.hpp"

#include "adaptor_support.hpp"
#include "catch.hpp"
#include "support.hpp"

#include <cohort/cohort.hpp>

#include <algorithm>  // for shuffle, sort
#include <cstddef>    // for size_t
#include <cstdint>    // for uintptr_t
#include <random>     // for mt19937_64
#include <vector>     // for vector

using namespace cohort;
using namespace test;
using detail::FrameBlock;
using detail::FrameCache;
using detail::FrameSlabs;

namespace {

std::vector<FrameBlock*> take_all(FrameSlabs& slabs, std::size_t frame_class) {
  std::vector<FrameBlock*> blocks;
  for (;;) {
    const FrameSlabs::Chain chain = slabs.take(frame_class, 64);
    if (chain.count == 0) return blocks;
    std::uint32_t length = 0;
    for (FrameBlock* block = chain.first; block != nullptr; block = block->next, ++length) blocks.push_back(block);
    REQUIRE(length == chain.count);
  }
}

Task<> wait_for(const AsyncFuture<void>* gate) { co_await *gate; }

}  // namespace

TEST_CASE("a slab gives blocks that are apart, takes them back in any order, and is over when it has all") {
  FrameSlabs slabs;
  const std::size_t frame_class = GENERATE(std::size_t{0}, std::size_t{9}, FrameCache::class_count - 1);
  REQUIRE(slabs.take(frame_class, 64).count == 0);
  void* const memory = FrameSlabs::obtain();
  if (memory == nullptr) return;  // no such system
  slabs.add(memory, frame_class);
  REQUIRE(slabs.take(frame_class == 0 ? 1 : 0, 64).count == 0);  // of another class
  std::vector<FrameBlock*> blocks = take_all(slabs, frame_class);
  const std::size_t size = FrameCache::size_of(frame_class);
  REQUIRE(blocks.size() >= ((std::size_t{1} << 21U) - 64) / size);

  std::sort(blocks.begin(), blocks.end());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto address = reinterpret_cast<std::uintptr_t>(blocks[i]);
    if (address % detail::frame_alignment != 0) ++wrong;
    if (i > 0 && address - reinterpret_cast<std::uintptr_t>(blocks[i - 1]) < size) ++wrong;
  }
  REQUIRE(wrong == 0);

  int local = 0;
  REQUIRE_FALSE(slabs.give_back(&local));
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(7));
  FrameBlock* const last = blocks.back();
  blocks.pop_back();
  for (FrameBlock* block : blocks) {
    if (!slabs.give_back(block)) ++wrong;
  }
  REQUIRE(wrong == 0);
  REQUIRE(take_all(slabs, frame_class).size() == blocks.size());  // they are given out again
  for (FrameBlock* block : blocks) {
    if (!slabs.give_back(block)) ++wrong;
  }
  REQUIRE(wrong == 0);
  REQUIRE(slabs.give_back(last));
  REQUIRE(slabs.take(frame_class, 64).count == 0);  // it is gone
  REQUIRE_FALSE(slabs.give_back(last));

  REQUIRE(slabs.add_kept(frame_class));  // its memory serves again
  REQUIRE_FALSE(slabs.add_kept(frame_class));
  blocks = take_all(slabs, frame_class);
  for (FrameBlock* block : blocks) {
    if (!slabs.give_back(block)) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("of the slabs that are over 128 MiB are kept, and the others go back", "[R8]") {
  constexpr std::size_t most = 64;
  const std::size_t frame_class = FrameCache::class_count - 1;
  FrameSlabs slabs;
  std::vector<FrameBlock*> blocks;
  for (std::size_t i = 0; i < most + 2; ++i) {
    if (void* const memory = FrameSlabs::obtain(); memory != nullptr) slabs.add(memory, frame_class);
  }
  blocks = take_all(slabs, frame_class);
  int wrong = 0;
  for (FrameBlock* block : blocks) {
    if (!slabs.give_back(block)) ++wrong;
  }
  REQUIRE(wrong == 0);
  std::size_t kept = 0;
  while (slabs.add_kept(frame_class)) ++kept;
  REQUIRE(kept == (blocks.empty() ? 0 : most));
  for (FrameBlock* block : take_all(slabs, frame_class)) static_cast<void>(slabs.give_back(block));
}

TEST_CASE("of several slabs each takes back its own") {
  FrameSlabs slabs;
  std::vector<std::vector<FrameBlock*>> blocks;
  for (std::size_t frame_class = 5; frame_class < 15; ++frame_class) {
    for (int i = 0; i < 2; ++i) {
      if (void* const memory = FrameSlabs::obtain(); memory != nullptr) slabs.add(memory, frame_class);
    }
    blocks.push_back(take_all(slabs, frame_class));
  }
  int wrong = 0;
  for (const std::vector<FrameBlock*>& each : blocks) {
    for (FrameBlock* block : each) {
      if (!slabs.give_back(block)) ++wrong;
    }
  }
  REQUIRE(wrong == 0);
  for (std::size_t frame_class = 5; frame_class < 15; ++frame_class) REQUIRE(slabs.take(frame_class, 64).count == 0);
}

TEST_CASE("the memory of hundreds of thousands of tasks that live at once goes back when the executor has ended",
          "[R8]") {
  const int count = scaled(300'000);
  const auto run = [&] {
    AsyncExecutor executor(2);
    AsyncPromise<> promise;
    const AsyncFuture<void> gate = promise.get_future();
    for (int i = 0; i < count; ++i) static_cast<void>(executor.submit(wait_for(&gate)));
    executor.submit([] {}).get();
    promise.set_result();
    executor.shutdown();
    REQUIRE(executor.stats().succeeded == static_cast<std::uint64_t>(count) + 1);
  };
  run();  // what is kept once
  const Growth growth;
  for (int round = 0; round < 3; ++round) {
    run();
    INFO("grew by " << growth.now() << " KiB");
    REQUIRE(growth.now() < 16 * 1024);
  }
}

TEST_CASE("threads that come and go take and give back what others have") {
  const int count = scaled(50'000);
  std::vector<AsyncFuture<int>> futures;
  for (int round = 0; round < 4; ++round) {
    AsyncExecutor executor(3);
    for (int i = 0; i < count; ++i) futures.push_back(executor.submit([i] { return i; }));
    executor.shutdown();
  }
  std::int64_t sum = 0;
  for (const AsyncFuture<int>& future : futures) sum += future.get();
  REQUIRE(sum == std::int64_t{4} * count * (count - 1) / 2);
  futures.clear();  // on this thread, in order; their executors are gone
}
