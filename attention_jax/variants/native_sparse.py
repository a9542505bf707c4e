"""Native sparse attention (NSA): summaries of all blocks, a few blocks in full, and what is near.

    summaries    K_n = compressed keys of `summary` positions from n `stride` on, V_n likewise
                 p_n = softmax of q_i . K_n / sqrt(d) over summaries that end before i or at i
    chosen       the first block, that of i and the one before it, and the best others by the sum of
                 p over the summaries that overlap them, over all queries of a key head
    out_i = g_1 summaries + g_2 chosen blocks + g_3 window         g = sigmoid(W x_i), a head

A summary is a learned weighted sum of its positions, of each channel apart, plus a learned vector
of each position, through one layer: tanh(sum_l w_l (k_l + place_l)) + the mean of k. The paper
writes of an MLP with positions within a block, and has keys and values for each of the three
branches; here all three read the layer's. Blocks are counted from the first key of a call.

Reference: Yuan et al. 2025, arXiv:2502.11089, section 3.3, equations 5 to 12.
Cost: t (`blocks` `size` + `window` + s / `stride`) (d + e) products a head, and t s / `stride`
numbers of a block of queries at a time.
"""
