// What the component exports: hands the contract's three questions to policy.js.
import * as mine from "../policy.js";
import { View, problems } from "./onsen.js";

export const policy = {
  describe() {
    return {
      name: mine.name,
      version: mine.version,
      doc: mine.doc,
      settings: mine.settings.map(({ key, fallback, min, max, doc }) => ({
        key, kind: "integer", default: String(fallback), min, max, doc,
      })),
    };
  },
  configure(given) {
    const found = problems(mine.settings, given);
    if (found.length > 0) throw found;
  },
  decide(snapshot) {
    try {
      return mine.decide(new View(snapshot));
    } catch (error) {
      throw String(error?.message ?? error);
    }
  },
};
