// The order of screens, and of the sounds on each, follows from test and rater alone: a reload, or
// another browser, goes on with the same one.

function hash(text) {
  // FNV-1a, 32 bits.
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    value = Math.imul(value ^ byte, 0x01000193);
  }
  return value >>> 0;
}

function generator(seed) {
  // A Weyl sequence through the 32-bit finaliser of MurmurHash3.
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let value = state;
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
    return ((value ^ (value >>> 16)) >>> 0) / 2 ** 32;
  };
}

function shuffled(list, random) {
  const result = [...list];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

function orderFor(test, rater) {
  const random = generator(hash(`${test.test}/${rater}`));
  return shuffled(test.screens, random).map((screen) => ({
    ...screen,
    stimuli: shuffled(screen.stimuli, random),
  }));
}
