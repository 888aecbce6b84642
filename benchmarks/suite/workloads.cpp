#include "workloads.hpp"

#include <algorithm>  // for std::fill
#include <numeric>    // for std::accumulate

namespace workloads {

void multiply(const Block& block) {
  const auto stride = static_cast<std::ptrdiff_t>(block.stride);
  for (int i = 0; i < block.size; ++i) {
    int* const c = block.c + i * stride;
    for (int k = 0; k < block.size; ++k) {
      const int factor = block.a[i * stride + k];
      const int* const b = block.b + k * stride;
      for (int j = 0; j < block.size; ++j) c[j] += factor * b[j];
    }
  }
}

Matrices::Matrices(int size) : size_(size) {
  const auto count = static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
  a_.resize(count);
  b_.resize(count);
  c_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    a_[i] = static_cast<int>(i * 7 % 5);
    b_[i] = static_cast<int>(i * 11 % 3);
  }
}

Block Matrices::start() {
  std::fill(c_.begin(), c_.end(), 0);
  return {a_.data(), b_.data(), c_.data(), size_, size_};
}

long Matrices::sum() const { return std::accumulate(c_.begin(), c_.end(), 0L); }

// The sum of a product is that of the products of a's column sums and b's row sums.
long Matrices::expected_sum() const {
  const auto size = static_cast<std::size_t>(size_);
  long sum = 0;
  for (std::size_t k = 0; k < size; ++k) {
    long column = 0;
    long row = 0;
    for (std::size_t i = 0; i < size; ++i) {
      column += a_[i * size + k];
      row += b_[k * size + i];
    }
    sum += column * row;
  }
  return sum;
}

std::size_t Matrices::leaves(int size) {
  const auto blocks = static_cast<std::size_t>(size / matmul_leaf);
  return blocks * blocks * blocks;
}

}  // namespace workloads
