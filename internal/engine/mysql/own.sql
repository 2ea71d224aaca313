CREATE DATABASE `berth.health`;
CREATE TABLE `berth.health`.probe (id INT PRIMARY KEY, word CHAR(36) CHARACTER SET ascii NOT NULL) ENGINE=InnoDB;
delimiter $$
CREATE DEFINER = 'root'@'localhost' PROCEDURE `berth.health`.give_definers(IN wanted VARCHAR(64)) SQL SECURITY DEFINER
BEGIN
  DECLARE who VARCHAR(288);
  DECLARE there VARCHAR(255);
  DECLARE done BOOLEAN DEFAULT FALSE;
  DECLARE missing CURSOR FOR
    SELECT DISTINCT LEFT(d, CHAR_LENGTH(d) - CHAR_LENGTH(SUBSTRING_INDEX(d, '@', -1)) - 1), SUBSTRING_INDEX(d, '@', -1)
    FROM (
      SELECT DEFINER AS d FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = wanted
      UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = wanted
      UNION SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = wanted
      UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = wanted
    ) AS used
    WHERE NOT EXISTS (SELECT 1 FROM mysql.user WHERE CAST(CONCAT(User, '@', Host) AS BINARY) = CAST(d AS BINARY))
      AND d NOT LIKE 'berth.%' AND d NOT LIKE 'mysql.%' AND d NOT LIKE '@%'
      AND (d LIKE '%@localhost' OR NOT EXISTS (
        SELECT 1 FROM mysql.user WHERE account_locked = 'N'
          AND CAST(User AS BINARY) = CAST(LEFT(d, CHAR_LENGTH(d) - CHAR_LENGTH(SUBSTRING_INDEX(d, '@', -1)) - 1) AS BINARY)))
      AND (SELECT COUNT(*) FROM mysql.user) < 100
    LIMIT 20;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = TRUE;
  OPEN missing;
  one_by_one: LOOP
    FETCH missing INTO who, there;
    IF done THEN LEAVE one_by_one; END IF;
    SET @make = CONCAT('CREATE USER IF NOT EXISTS ', QUOTE(who), '@', QUOTE(there), ' ACCOUNT LOCK ATTRIBUTE ''{"berth": "definer"}''');
    PREPARE make FROM @make;
    EXECUTE make;
    SET @make = CONCAT('GRANT ALL PRIVILEGES ON `', REPLACE(REPLACE(REPLACE(wanted, '`', '``'), '_', '\\_'), '%', '\\%'),
      '`.* TO ', QUOTE(who), '@', QUOTE(there));
    PREPARE make FROM @make;
    EXECUTE make;
    DEALLOCATE PREPARE make;
  END LOOP;
  CLOSE missing;
END
$$
