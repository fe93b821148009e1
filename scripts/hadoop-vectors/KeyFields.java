import java.nio.charset.StandardCharsets;
import java.util.Random;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedPartitioner;

/**
 * Prints which of 1000003 partitions Hadoop's KeyFieldBasedPartitioner chooses: lines
 * "opt OPTIONS SEPARATOR", with "refused" at the end where it does not take the
 * options, and for each some lines "KEY PARTITION", the key in hexadecimal.
 */
public class KeyFields {
  static final String[] OPTIONS = {
    null, "", " ", "-n", "-nr foo", "-k1", "-k1,1", "-k2,2", "-k 2,2", "-k2", "-k1,2", "-k3,3", "-k1.2,1.3",
    "-k2.1,2.2nr", "-k2n", "-k1,1 -k3,3", "-k3 -k1,1", "-k1.3", "-k2.4,3.1", "-k1,0", "-k0", "-k1.0,1", "-k2.0,2",
    "-k5,7", "-k1r,1n", "-k2.2n,2.3r", "-k1,1.100", "-k1.2,1.1", "-k11,12", "-k 1,1 -k 2nr", "-k", "-k1,1 -k",
    "-k+1,+2", "-k1,", "-k1.", "-k1x", "-kx", "-k1,1x", "-k1n2", "-k1,2,3", "-k,1", "-k1.2.3", "-k99999999999",
    "-k-1", "-k1.-2", "-k1,-1"
  };
  static final String[] SEPARATORS = {null, ",", "::", "aa", "."};
  static final String[] WORDS = {
    "a", "b", "", "xyz", "é", "日本", "\t", ",", "::", "aa", "a", "😀", ".", ":", " ", "longer word", "0", "\u0001"
  };
  /** Bytes of which many sequences are almost UTF-8. */
  static final int[] HARD = {
    0xe0, 0x80, 0xed, 0xa0, 0xf0, 0x9f, 0x98, 0xf4, 0x90, 0xc0, 0xc3, 0xff, 0xe2, 0x82, 0x41, 0x09, 0xbf, 0xf5, 0xef
  };
  static final Random RANDOM = new Random(7);

  static byte[] key(int i, String separator) {
    if (i == 0) {
      return new byte[0];
    }
    if (i % 4 == 3) {
      byte[] key = new byte[1 + RANDOM.nextInt(8)];
      for (int j = 0; j < key.length; j++) {
        key[j] = (byte) HARD[RANDOM.nextInt(HARD.length)];
      }
      return key;
    }
    StringBuilder key = new StringBuilder();
    for (int words = 1 + RANDOM.nextInt(8); words > 0; words--) {
      key.append(WORDS[RANDOM.nextInt(WORDS.length)]);
      if (RANDOM.nextInt(3) > 0) {
        key.append(separator == null ? "\t" : separator);
      }
    }
    return key.toString().getBytes(StandardCharsets.UTF_8);
  }

  static void print(String options, String separator) {
    Configuration conf = new Configuration(false);
    if (separator != null) {
      conf.set("mapreduce.map.output.key.field.separator", separator);
    }
    if (options != null) {
      conf.set("mapreduce.partition.keypartitioner.options", options);
    }
    String head = "opt\t" + (options == null ? "" : options) + "\t" + (separator == null ? "" : separator);
    KeyFieldBasedPartitioner<Text, Text> partitioner = new KeyFieldBasedPartitioner<>();
    try {
      partitioner.setConf(conf);
    } catch (RuntimeException e) {
      System.out.println(head + "\trefused");
      return;
    }
    System.out.println(head);
    for (int i = 0; i < (separator == null ? 24 : 14); i++) {
      byte[] key = key(i, separator);
      StringBuilder line = new StringBuilder();
      for (byte b : key) {
        line.append(String.format("%02x", b));
      }
      System.out.println(line.append('\t').append(partitioner.getPartition(new Text(key), null, 1000003)));
    }
  }

  public static void main(String[] args) {
    for (String options : OPTIONS) {
      for (String separator : SEPARATORS) {
        print(options, separator);
      }
    }
  }
}
