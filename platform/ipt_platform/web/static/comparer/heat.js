/**
 * The difference of two pictures as a heat map: the mean of |R - R'|, |G - G'| and |B - B'| in levels of 255, times a gain.
 *
 * The colours are matplotlib's inferno (S. van der Walt, N. Smith, E. Firing; CC0): equal steps look equally large, also in grey
 * and to colour-blind eyes.
 */

const HEX =
  "00000401000501010601010802010a02020c02020e03021004031204031405041706041907051b08051d09061f0a07220b07240c08260d0829" +
  "0e092b10092d110a30120a32140b34150b37160b39180c3c190c3e1b0c411c0c431e0c451f0c48210c4a230c4c240c4f260c51280b53290b55" +
  "2b0b572d0b592f0a5b310a5c320a5e340a5f3609613809623909633b09643d09653e0966400a67420a68440a68450a69470b6a490b6a4a0c6b" +
  "4c0c6b4d0d6c4f0d6c510e6c520e6d540f6d550f6d57106e59106e5a116e5c126e5d126e5f136e61136e62146e64156e65156e67166e69166e" +
  "6a176e6c186e6d186e6f196e71196e721a6e741a6e751b6e771c6d781c6d7a1d6d7c1d6d7d1e6d7f1e6c801f6c82206c84206b85216b87216b" +
  "88226a8a226a8c23698d23698f24699025689225689326679526679727669827669a28659b29649d29649f2a63a02a63a22b62a32c61a52c60" +
  "a62d60a82e5fa92e5eab2f5ead305dae305cb0315bb1325ab3325ab43359b63458b73557b93556ba3655bc3754bd3853bf3952c03a51c13a50" +
  "c33b4fc43c4ec63d4dc73e4cc83f4bca404acb4149cc4248ce4347cf4446d04545d24644d34743d44842d54a41d74b3fd84c3ed94d3dda4e3c" +
  "db503bdd513ade5238df5337e05536e15635e25734e35933e45a31e55c30e65d2fe75e2ee8602de9612bea632aeb6429eb6628ec6726ed6925" +
  "ee6a24ef6c23ef6e21f06f20f1711ff1731df2741cf3761bf37819f47918f57b17f57d15f67e14f68013f78212f78410f8850ff8870ef8890c" +
  "f98b0bf98c0af98e09fa9008fa9207fa9407fb9606fb9706fb9906fb9b06fb9d07fc9f07fca108fca309fca50afca60cfca80dfcaa0ffcac11" +
  "fcae12fcb014fcb216fcb418fbb61afbb81dfbba1ffbbc21fbbe23fac026fac228fac42afac62df9c72ff9c932f9cb35f8cd37f8cf3af7d13d" +
  "f7d340f6d543f6d746f5d949f5db4cf4dd4ff4df53f4e156f3e35af3e55df2e661f2e865f2ea69f1ec6df1ed71f1ef75f1f179f2f27df2f482" +
  "f3f586f3f68af4f88ef5f992f6fa96f8fb9af9fc9dfafda1fcffa4";

/** 256 colours, RGB bytes: 0 is no difference, 255 the largest that the scale shows. */
export const COLOURS = Uint8Array.from(HEX.match(/../g), (byte) => parseInt(byte, 16));

/** The largest difference that the scale shows, in levels of 255. */
export function largest(gain) {
  return 255 / gain;
}

/** RGBA bytes of the heat map of two pictures `{data, width, height}` of one size. */
export function heatMap(one, other, gain) {
  const a = one.data;
  const b = other.data;
  const out = new Uint8ClampedArray(a.length);
  for (let i = 0; i < a.length; i += 4) {
    const sum = Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]);
    const at = 3 * Math.min(255, Math.round((sum * gain) / 3));
    out[i] = COLOURS[at];
    out[i + 1] = COLOURS[at + 1];
    out[i + 2] = COLOURS[at + 2];
    out[i + 3] = 255;
  }
  return out;
}
