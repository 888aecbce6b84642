#pragma once

#include <array>    // for array
#include <cstddef>  // for size_t
#include <cstdint>  // for uint32_t, uint64_t
#include <span>     // for span

/// The CRC of POSIX `cksum`: polynomial 0x04C11DB7, most significant bit first, starting from zero; the length of the
/// data is appended to it, and the remainder is inverted at the end.
///
/// `update` takes sixteen bytes at a time: table `k` tells what a byte does to the remainder when `k` more bytes
/// follow it, so the sixteen look-ups of a step depend on nothing but the step before.
class Crc {
 public:
  void update(std::span<const unsigned char> bytes) noexcept {
    size_ += bytes.size();
    const unsigned char* p = bytes.data();
    std::size_t left = bytes.size();
    std::uint32_t crc = remainder_;
    for (; left >= slices; left -= slices, p += slices) {
      const std::uint32_t first = crc ^ big_endian(p), second = big_endian(p + 4);
      const std::uint32_t third = big_endian(p + 8), fourth = big_endian(p + 12);
      crc = word(12, first) ^ word(8, second) ^ word(4, third) ^ word(0, fourth);
    }
    for (; left > 0; --left, ++p) crc = append(crc, *p);
    remainder_ = crc;
  }

  /// The number of bytes seen so far.
  std::uint64_t size() const noexcept { return size_; }

  /// The checksum of the bytes seen so far.
  std::uint32_t value() const noexcept {
    std::uint32_t crc = remainder_;
    for (std::uint64_t rest = size_; rest != 0; rest >>= 8) crc = append(crc, static_cast<unsigned char>(rest & 0xFF));
    return ~crc;
  }

 private:
  static constexpr std::size_t slices = 16;
  using Tables = std::array<std::array<std::uint32_t, 256>, slices>;

  static constexpr Tables make_tables() {
    Tables result{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t crc = byte << 24;
      for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc >> 31) != 0 ? 0x04C11DB7U : 0U);
      result[0][byte] = crc;
    }
    for (std::size_t k = 1; k < slices; ++k) {
      for (std::size_t byte = 0; byte < 256; ++byte) {
        const std::uint32_t crc = result[k - 1][byte];
        result[k][byte] = (crc << 8) ^ result[0][crc >> 24];
      }
    }
    return result;
  }

  static std::uint32_t append(std::uint32_t crc, unsigned char byte) noexcept {
    return (crc << 8) ^ tables[0][(crc >> 24) ^ byte];
  }

  static std::uint32_t big_endian(const unsigned char* p) noexcept {
    return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | std::uint32_t{p[3]};
  }

  /// What four bytes with `following` bytes after them add to the remainder.
  static std::uint32_t word(std::size_t following, std::uint32_t bytes) noexcept {
    return tables[following + 3][bytes >> 24] ^ tables[following + 2][(bytes >> 16) & 0xFF] ^
           tables[following + 1][(bytes >> 8) & 0xFF] ^ tables[following][bytes & 0xFF];
  }

  static const Tables tables;

  std::uint32_t remainder_ = 0;
  std::uint64_t size_ = 0;
};

inline constexpr Crc::Tables Crc::tables = Crc::make_tables();
