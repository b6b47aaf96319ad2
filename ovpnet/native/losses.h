// Losses of one output, and the numbers that the engine knows losses and penalties by.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

enum Penalty { NONE, FROBENIUS, ROW_24 };
enum Loss { L2, HUBER, LOGISTIC };

template <class T>
T loss_value(Loss loss, T output, T y) {
    T difference = output - y;
    if (loss == L2) return difference * difference;
    if (loss == HUBER) {
        T distance = std::abs(difference);
        return distance <= 1 ? distance * distance / 2 : distance - T(0.5);
    }
    T margin = -y * output;
    return margin > 20 ? margin : std::log1p(std::exp(margin));
}

template <class T>
T loss_slope(Loss loss, T output, T y) {
    if (loss == L2) return 2 * (output - y);
    if (loss == HUBER) return (output - y) / std::max(std::abs(output - y), T(1));
    return -y / (1 + std::exp(y * output));
}
