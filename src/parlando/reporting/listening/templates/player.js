// Plays one sound at a time, from its beginning to its end: there is no seeking, so that a sound
// that has ended was heard whole. (Audio elements, because pages opened as files may not fetch.)

class Player {
  constructor(files, changed) {
    this.heard = files.map(() => false);
    this.plays = files.map(() => 0);
    this.failed = files.map(() => false);
    this.chosen = 0;
    this.changed = changed;
    this.sounds = files.map((file, place) => {
      const sound = new Audio(`audio/${file}.wav`);
      sound.preload = "auto";
      sound.addEventListener("ended", () => this.ended(place));
      sound.addEventListener("error", () => this.fail(place));
      return sound;
    });
  }

  playing(place) {
    return !this.sounds[place].paused && !this.sounds[place].ended;
  }

  share(place) {
    const { currentTime, duration, ended } = this.sounds[place];
    return ended || !duration ? 0 : currentTime / duration;
  }

  toggle(place = this.chosen) {
    this.chosen = place;
    const sound = this.sounds[place];
    if (this.playing(place)) {
      sound.pause();
    } else {
      this.silence(place);
      if (this.failed[place]) {
        this.failed[place] = false;
        sound.load(); // the network may be back
      }
      if (sound.ended || sound.currentTime === 0) {
        sound.currentTime = 0;
        this.plays[place] += 1;
      }
      sound.play().catch((error) => {
        // A pause may overtake the start of play; that is no fault of the sound.
        if (error.name !== "AbortError") this.fail(place);
      });
    }
    this.changed();
  }

  silence(except = -1) {
    this.sounds.forEach((sound, place) => {
      if (place === except || sound.paused) return;
      sound.pause();
      sound.currentTime = 0;
    });
  }

  choose(step) {
    const count = this.sounds.length;
    this.chosen = (this.chosen + step + count) % count;
    this.changed();
  }

  ended(place) {
    this.heard[place] = true;
    const next = this.heard.indexOf(false);
    if (place === this.chosen && next >= 0) this.chosen = next;
    this.changed();
  }

  fail(place) {
    this.failed[place] = true;
    this.changed();
  }
}
