#include "check.hpp"

template std::optional<parity::Deviation> parity::check<float>(const File&);
